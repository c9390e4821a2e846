"""A service behind TLS with a private CA, reached through a proxy that wants credentials."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from junkie_async import (
    BatchError,
    ConnectError,
    CreateReport,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    NotFoundError,
    Outcome,
    RetryPolicy,
)
from junkie_async.emulator import Emulator
from junkie_async.export import export_keys

from ..proxies import (
    ENCODED,
    HANG,
    HOST,
    PASSWORD,
    USER,
    PrivateCA,
    Shop,
    behind_tls,
    listen,
    make_ca,
    open_shop,
    port_of,
    proxy_to,
    refuse,
)
from .operations import NO_WAIT, calm
from .test_dead_pool import Recorder, Server, check_dead_pool
from .test_error_trackers import TRACKERS

NO = Outcome.NOT_EXECUTED
SCHEMES = pytest.mark.parametrize("scheme", ["http", "https"])
"""The proxy's own: over https there is TLS within TLS."""


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> PrivateCA:
    """A CA that no system trusts."""
    return make_ca(tmp_path_factory.mktemp("ca"))


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


# --- what works -----------------------------------------------------------------------------------


@SCHEMES
async def test_every_operation(ca: PrivateCA, scheme: str) -> None:
    """All of them work, and all requests go through the proxy: the host's name has no address."""
    async with open_shop(ca, scheme) as shop, shop.connect() as junkie:
        keys = junkie.keys
        await shop.emulator.add_folder("main")
        assert [folder.name for folder in await keys.folders()] == ["main"]
        key = await keys.create(provider_id=1, key_name="one", validity_minutes=60)
        assert (await keys.get(key.id)).key_name == (await keys.get(key.key_value)).key_name
        assert await keys.find(key.key_value) == key
        assert await keys.verify(key.key_value, hwid="PC")
        await keys.update(key.id, key_name="two", hwids=["PC"])
        await keys.reset_hwid(key.id)
        await keys.invalidate(key.id)
        assert not await keys.verify(key.key_value)
        await keys.revalidate(key.id)
        assert (await keys.create_batch(provider_id=1, amount=3)).count == 3
        made = await keys.create_many(250, provider_id=1)
        assert (made.created, await keys.list().count()) == (250, 254)
        page = await keys.list(limit=10)
        assert [each.id async for each in keys.list()][:10] == [each.id for each in page.keys]
        assert await export_keys(keys.list(), StringIO(), format="csv") == 254
        await keys.update_many(page.keys, folder_id=1)
        await keys.reset_hwid_many(page.keys)
        await keys.delete(key.id)
        with pytest.raises(NotFoundError):
            await keys.get(key.id)
        assert (await keys.bulk_delete([each.id for each in page.keys[1:3]])).deleted == 2
        assert (await keys.delete_many([each.id for each in page.keys[3:6]])).deleted == 3
        assert (await keys.purge(provider_id=1)).deleted == 248
    assert all(head.startswith(f"CONNECT {HOST}:".encode()) for head in shop.proxy.heads)
    assert not [head for head in shop.proxy.heads if b"bearer" in head.lower()]  # no API key
    assert 2 <= shop.proxy.tunnels == len(shop.proxy.heads) < shop.emulator.requests / 2


@SCHEMES
async def test_tunnels_are_reused(ca: PrivateCA, scheme: str) -> None:
    """Ten calls one after the other need one; a create has one of its own. None is left open."""
    async with open_shop(ca, scheme) as shop, calm(), shop.connect() as junkie:
        key = await junkie.keys.create(provider_id=1)
        for _ in range(10):
            await junkie.keys.get(key.id)
        assert shop.proxy.tunnels == 2
        await junkie.close()
        await shop.proxy.wait_until_closed()


@SCHEMES
async def test_by_environment(
    ca: PrivateCA, scheme: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """$HTTPS_PROXY and $SSL_CERT_FILE do as well; an entry in .netrc replaces nothing."""
    (tmp_path / "netrc").write_text(
        f"machine {HOST} login a password b\ndefault login c password d"
    )
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with open_shop(ca, scheme) as shop:
        monkeypatch.setenv("HTTPS_PROXY", shop.proxy.full_url)
        monkeypatch.setenv("SSL_CERT_FILE", str(ca.file))
        async with shop.connect(proxy=None, ssl=None, trust_env=True) as junkie:
            key = await junkie.keys.create(provider_id=1)
            assert (await junkie.keys.get(key.id)).key_value == key.key_value
        assert shop.proxy.tunnels == 2


async def test_no_proxy(ca: PrivateCA, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that $NO_PROXY names is called directly."""
    monkeypatch.setenv("NO_PROXY", HOST)
    async with open_shop(ca) as shop:
        monkeypatch.setenv("HTTPS_PROXY", shop.proxy.full_url)
        async with shop.connect(proxy=None, trust_env=True) as junkie:
            with pytest.raises(ConnectError):  # its name has no address
                await junkie.keys.folders()
        assert shop.proxy.heads == []


async def test_loopback_is_called_directly(ca: PrivateCA, monkeypatch: pytest.MonkeyPatch) -> None:
    """An emulator is reached whatever proxy is set."""
    async with open_shop(ca) as shop:
        monkeypatch.setenv("HTTP_PROXY", shop.proxy.full_url)
        monkeypatch.setenv("ALL_PROXY", shop.proxy.full_url)
        for options in ({"trust_env": True}, {"proxy": shop.proxy.full_url}):
            async with JunkieClient("any", base_url=shop.emulator.url, **options) as junkie:
                await junkie.keys.folders()
        assert shop.proxy.heads == []


async def test_a_dead_pool_costs_one_attempt(ca: PrivateCA) -> None:
    """With 16 dead tunnels in the pool, each next call succeeds with its second attempt."""
    service, recorder = Server(), Recorder()
    patient = RetryPolicy(wait_initial=60.0)  # a back-off would show
    async with (
        listen(service.serve, ca.make_server_context(HOST)) as port,
        proxy_to(port, ca, "http") as proxy,
    ):
        shop = Shop(Emulator(), proxy, f"https://{HOST}:{port}", ca)
        async with shop.connect(retry=patient, hooks=recorder) as junkie:
            await check_dead_pool(junkie, service, recorder)
    assert proxy.tunnels == 18


async def test_a_redirect_is_not_followed(ca: PrivateCA) -> None:
    """The proxy is asked for no other host."""

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 307 Moved\r\nLocation: https://other.test/\r\n\r\n")

    async with (
        listen(redirect, ca.make_server_context(HOST)) as port,
        proxy_to(port, ca, "http") as proxy,
        Shop(Emulator(), proxy, f"https://{HOST}:{port}", ca).connect() as junkie,
    ):
        with pytest.raises(InvalidResponseError):
            await junkie.keys.folders()
    assert len(proxy.heads) == 1


# --- what is refused ------------------------------------------------------------------------------

AUTHENTICATE = refuse(407, 'Proxy-Authenticate: Basic realm="proxy"')
REFUSALS = {
    "403": (refuse(403), 1),
    "407": (AUTHENTICATE, 1),
    "302": (refuse(302, "Location: https://login.test/"), 1),
    "429": (refuse(429), 3),
    "502": (refuse(502), 3),
    "503": (refuse(503), 3),
    "999": (b"HTTP/1.1 999\r\n\r\n", 3),
    "closed": (b"", 3),
    "hangs": (HANG, 3),
    "no HTTP": (b"SSH-2.0-proxy\r\n\r\n", 3),
    "no tunnel": (b"HTTP/1.1 200 OK\r\n\r\n", 3),
    "endless headers": (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, 3),
}
CALLS: dict[str, Callable[[JunkieClient], Awaitable[object]]] = {
    "create": lambda junkie: junkie.keys.create(provider_id=1),
    "create_batch": lambda junkie: junkie.keys.create_batch(provider_id=1, amount=2),
    "reset_hwid": lambda junkie: junkie.keys.reset_hwid(1),
    "get": lambda junkie: junkie.keys.get(1),
}


@SCHEMES
@pytest.mark.parametrize("name", REFUSALS)
async def test_a_proxy_that_refuses_has_sent_nothing(ca: PrivateCA, scheme: str, name: str) -> None:
    """A create through it did not happen; only what may pass is tried again."""
    refusal, attempts = REFUSALS[name]
    async with open_shop(ca, scheme) as shop, calm():
        shop.proxy.refusal = refusal
        async with shop.connect(timeout=0.1 if name == "hangs" else 10.0) as junkie:
            calls = [CALLS["create"]] if name == "hangs" else CALLS.values()
            for call in calls:
                shop.proxy.heads.clear()
                with pytest.raises(ConnectError) as caught:
                    await call(junkie)
                assert (caught.value.outcome, caught.value.attempts) == (NO, attempts)
                assert len(shop.proxy.heads) == attempts
        await shop.proxy.wait_until_closed()
    assert (shop.emulator.requests, shop.proxy.tunnels) == (0, 0)


async def test_a_proxy_that_recovers(ca: PrivateCA) -> None:
    """A create is sent again after refusals that pass, and made once."""
    async with open_shop(ca) as shop, shop.connect() as junkie:
        shop.proxy.answers = [refuse(503), b""]
        await junkie.keys.create(provider_id=1)
        assert (shop.emulator.requests, len(shop.proxy.heads)) == (1, 3)


async def test_a_job_behind_a_proxy_that_refuses(ca: PrivateCA) -> None:
    """No key of it is unknown."""
    async with open_shop(ca) as shop, shop.connect() as junkie:
        shop.proxy.refusal = refuse(403)
        with pytest.raises(BatchError) as caught:
            await junkie.keys.create_many(250, provider_id=1)
        report = caught.value.report
        assert isinstance(report, CreateReport)
        assert (report.created, report.unknown, shop.emulator.requests) == (0, 0, 0)
        assert caught.value.did_nothing


@SCHEMES
@pytest.mark.parametrize("user", ["", f"{USER}:wrong@", f"other:{ENCODED}@"])
async def test_wrong_credentials(ca: PrivateCA, scheme: str, user: str) -> None:
    """They are not tried again: the proxy may lock the user out."""
    async with open_shop(ca, scheme) as shop:
        proxy = shop.proxy.url.replace("://", f"://{user}")
        async with shop.connect(proxy=proxy) as junkie:
            with pytest.raises(ConnectError) as caught:
                await junkie.keys.create(provider_id=1)
        assert (caught.value.outcome, caught.value.transient) == (NO, False)
        assert len(shop.proxy.heads) == 1


async def test_a_proxy_that_can_not_be_reached() -> None:
    """Nothing was sent, and every call is tried again."""
    with socket.socket() as free:  # bound and not listening
        free.bind(("127.0.0.1", 0))
        proxy = f"http://{USER}:{ENCODED}@127.0.0.1:{free.getsockname()[1]}"
        junkie = JunkieClient("k", base_url=f"https://{HOST}", proxy=proxy, retry=NO_WAIT)
        async with junkie:
            with pytest.raises(ConnectError) as caught:
                await junkie.keys.create(provider_id=1)
    assert (caught.value.outcome, caught.value.attempts) == (NO, 3)


# --- certificates ---------------------------------------------------------------------------------


def _another_ca(shop: Shop, folder: Path) -> dict[str, Any]:
    return {"ssl": make_ca(folder).file}


def _the_systems_cas(shop: Shop, folder: Path) -> dict[str, Any]:
    return {"ssl": None}


@SCHEMES
@pytest.mark.parametrize("options", [_another_ca, _the_systems_cas])
async def test_a_certificate_of_an_unknown_ca(
    ca: PrivateCA,
    scheme: str,
    options: Callable[[Shop, Path], dict[str, Any]],
    tmp_path: Path,
) -> None:
    """Nothing is sent, and nothing tried again."""
    async with open_shop(ca, scheme) as shop, calm():
        async with shop.connect(**options(shop, tmp_path)) as junkie:
            with pytest.raises(ConnectError) as caught:
                await junkie.keys.create(provider_id=1)
        error = caught.value
        assert (error.outcome, error.attempts, error.transient) == (NO, 1, False)
        assert shop.emulator.requests == 0


async def test_a_certificate_of_another_host(ca: PrivateCA) -> None:
    """Nothing is sent to a service that has none for its name."""
    async with open_shop(ca, host="other.test") as shop, shop.connect() as junkie:
        with pytest.raises(ConnectError) as caught:
            await junkie.keys.create(provider_id=1)
        assert (caught.value.outcome, caught.value.attempts) == (NO, 1)
        assert shop.emulator.requests == 0


async def test_an_expired_certificate(ca: PrivateCA) -> None:
    """Nothing is sent to a service that has such a one."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    before = datetime(2020, 1, 1, tzinfo=UTC)
    ca.ca.issue_cert(HOST, not_before=before, not_after=before).configure_cert(context)
    async with (
        behind_tls(9, context) as port,
        proxy_to(port, ca, "http") as proxy,
        Shop(Emulator(), proxy, f"https://{HOST}:{port}", ca).connect() as junkie,
    ):
        with pytest.raises(ConnectError) as caught:
            await junkie.keys.create(provider_id=1)
    assert (caught.value.outcome, caught.value.attempts) == (NO, 1)


async def test_a_client_certificate(ca: PrivateCA) -> None:
    """A context of the caller's may have one."""
    server, own = ca.make_server_context(HOST), ssl.create_default_context(cafile=ca.file)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(ca.file)
    ca.ca.issue_cert("shop@keys.test").configure_cert(own)
    async with (
        Emulator() as emulator,
        behind_tls(port_of(emulator), server) as port,
        proxy_to(port, ca, "http") as proxy,
        Shop(emulator, proxy, f"https://{HOST}:{port}/api/v2", ca).connect(ssl=own) as junkie,
    ):
        assert await junkie.keys.folders() == []


# --- cancellation and secrets ---------------------------------------------------------------------


@SCHEMES
@pytest.mark.parametrize("end", ["cancel", "close"])
async def test_a_call_that_ends_while_the_proxy_hangs(ca: PrivateCA, scheme: str, end: str) -> None:
    """It ends at once and leaves nothing behind."""
    async with open_shop(ca, scheme) as shop, calm():
        shop.proxy.refusal = HANG
        junkie = shop.connect()
        call = asyncio.ensure_future(junkie.keys.create(provider_id=1))
        while not shop.proxy.heads:
            await asyncio.sleep(0)
        if end == "cancel":
            call.cancel()
        await junkie.close()
        with pytest.raises(asyncio.CancelledError if end == "cancel" else JunkieError) as caught:
            async with asyncio.timeout(5):
                await call
        await shop.proxy.wait_until_closed()
        if isinstance(caught.value, JunkieError):
            assert caught.value.outcome is NO


@SCHEMES
async def test_the_password_is_nowhere(
    ca: PrivateCA, scheme: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in errors and their frames, in logs, or in the client's repr."""
    caplog.set_level(logging.DEBUG)
    errors: list[BaseException] = []
    async with open_shop(ca, scheme) as shop, shop.connect() as junkie:
        asyncio.get_running_loop().set_debug(True)
        shown = [repr(junkie)]
        for answer in (AUTHENTICATE, refuse(403), b"HTTP/1.1 200 OK\r\n\r\n", b"no"):
            shop.proxy.answers = [answer] * 3
            with pytest.raises(ConnectError) as caught:
                await junkie.keys.create(provider_id=1)
            errors.append(caught.value)
            shop.proxy.answers.clear()
        shop.proxy.refusal = HANG
        with pytest.raises(TimeoutError) as timed_out:
            async with asyncio.timeout(0.1):
                await junkie.keys.folders()
        errors.append(timed_out.value)
        # What the test itself has in variables is no leak.
        frames = [error.with_traceback(_below(error)) for error in errors]
        shown += [tracker(error) for tracker in TRACKERS for error in frames]
        header = b"Basic " + shop.proxy.credentials
        assert header in shop.proxy.heads[-1]
    for secret in (PASSWORD, ENCODED, PASSWORD[-8:], shop.proxy.credentials.decode()):
        assert not [text for text in [*shown, caplog.text] if secret in text]


def _below(error: BaseException) -> Any:
    """Return the part of a traceback that is not the test's own."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    assert trace is not None
    return trace
