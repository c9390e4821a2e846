"""The command line behind a proxy that wants credentials, with a private CA."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from junkie_async.emulator import Emulator

from ..proxies import (
    ENCODED,
    PASSWORD,
    USER,
    ConnectProxy,
    PrivateCA,
    Shop,
    make_ca,
    open_shop,
    refuse,
)
from ._invoke import invoke
from ._process import Ended, emulator_environment, start_process, wait_for_end
from .test_every_command import STEPS

_CREATE = ("keys", "create", "--provider-id=42", "--key-name=first")
_PROVISION = ("keys", "provision", "9", "--provider-id=42", "--ledger=jobs.db", "--out=keys.txt")
_COUNT = ("keys", "count")


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> PrivateCA:
    """A CA that no system trusts."""
    return make_ca(tmp_path_factory.mktemp("ca"))


def options_of(shop: Shop) -> list[str]:
    """Return the options for the proxy and the CA."""
    return ["--proxy", shop.proxy.full_url, f"--ca-file={shop.ca.file}"]


def variables_of(shop: Shop, prefix: str) -> dict[str, str]:
    """Return our variables for them, or those of the environment."""
    names = {"JUNKIE_": ("PROXY", "CA_FILE"), "": ("HTTPS_PROXY", "SSL_CERT_FILE")}[prefix]
    values = (shop.proxy.full_url, str(shop.ca.file))
    return {f"{prefix}{name}": value for name, value in zip(names, values, strict=True)}


async def run(shop: Shop, *arguments: str, cwd: Path, **env: str) -> Ended:
    """Run a command in a process of its own."""
    given = {"JUNKIE_API_KEY": "any", "JUNKIE_BASE_URL": shop.url, **env}
    return await wait_for_end(await start_process(*arguments, cwd=cwd, env=given))


async def run_here(shop: Shop, *arguments: str, cwd: Path, **env: str) -> Ended:
    """Run a command in a thread of this one."""
    given = {"JUNKIE_API_KEY": "any", "JUNKIE_BASE_URL": shop.url, **env}
    return await asyncio.to_thread(invoke, *arguments, cwd=cwd, env=given)


def check_no_password(ended: Ended) -> None:
    """Fail if a command has printed the proxy's password."""
    for secret in (PASSWORD, ENCODED, PASSWORD[-8:]):
        assert secret not in ended.out + ended.err


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_options(ca: PrivateCA, scheme: str, tmp_path: Path) -> None:
    """A key is created through the proxy."""
    async with open_shop(ca, scheme) as shop:
        do = run if scheme == "http" else run_here
        ended = await do(shop, *options_of(shop), *_CREATE, cwd=tmp_path)
        assert (ended.code, await shop.emulator.count()) == (0, 1)
        assert shop.proxy.tunnels == 1
    check_no_password(ended)


@pytest.mark.parametrize("prefix", ["JUNKIE_", ""], ids=["ours", "environment"])
async def test_variables(ca: PrivateCA, prefix: str, tmp_path: Path) -> None:
    """$JUNKIE_PROXY and $JUNKIE_CA_FILE are obeyed, and $HTTPS_PROXY and $SSL_CERT_FILE."""
    async with open_shop(ca) as shop:
        do = run_here if prefix else run
        ended = await do(shop, *_CREATE, cwd=tmp_path, **variables_of(shop, prefix))
        assert (ended.code, await shop.emulator.count()) == (0, 1)
        assert shop.proxy.tunnels == 1


@pytest.mark.slow
async def test_every_command(ca: PrivateCA, tmp_path: Path) -> None:
    """All commands work, and all requests go through the proxy."""
    async with open_shop(ca) as shop:
        await shop.emulator.add_folder("VIP")
        options = options_of(shop)
        made = await run_here(shop, *options, *_CREATE, cwd=tmp_path)
        found = re.search(r"with the ID (\d+)", made.out + made.err)
        assert found is not None
        key = {"value": made.out.split()[0], "id": found[1]}
        for step in STEPS:
            command = step.command.format(**key).split()
            ended = await run_here(shop, *options, *command, cwd=tmp_path)
            assert ended.code == step.code, (step.command, ended)
            assert re.fullmatch(step.piped.replace("{id}", key["id"]), ended.out)
            check_no_password(ended)
        assert shop.proxy.tunnels >= len(STEPS) - 2  # `jobs` and a bad option make no request


@pytest.mark.usefixtures("quick_retries")
@pytest.mark.parametrize(
    "answer", [refuse(403), refuse(407), refuse(502), b""], ids=["403", "407", "502", "closed"]
)
async def test_a_proxy_that_refuses(ca: PrivateCA, answer: bytes, tmp_path: Path) -> None:
    """The service is unreachable, nothing was sent, and no password is printed."""
    async with open_shop(ca) as shop:
        shop.proxy.refusal = answer
        one = await run_here(shop, *options_of(shop), *_CREATE, cwd=tmp_path)
        many = await run_here(shop, *options_of(shop), *_PROVISION, cwd=tmp_path)
        assert (shop.emulator.requests, shop.proxy.tunnels) == (0, 0)
    assert (one.code, one.out, one.err.count("\n")) == (4, "", 1)
    assert many.code == 4
    for ended in (one, many):
        check_no_password(ended)


async def test_a_job_to_resume(ca: PrivateCA, tmp_path: Path) -> None:
    """The command to resume it is printed without the proxy's user and password."""
    async with open_shop(ca) as shop:
        shop.proxy.refusal = refuse(403)
        ended = await run(shop, *options_of(shop), *_PROVISION, cwd=tmp_path)
    assert ended.code == 4
    assert "To resume: " in ended.err, ended
    assert f"http://***@{shop.proxy.address}" in ended.err
    assert f"{USER}:" not in ended.err
    check_no_password(ended)


@pytest.mark.parametrize("option", ["--ca-file=nowhere.pem", "--proxy=http://a:s3cret@b:port"])
async def test_bad_usage(ca: PrivateCA, option: str, tmp_path: Path) -> None:
    """A file or URL that can't be used is refused in a line, before anything is sent."""
    async with open_shop(ca) as shop:
        ended = await run_here(shop, *options_of(shop), option, *_CREATE, cwd=tmp_path)
        assert shop.proxy.heads == []
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "s3cret" not in ended.err


async def test_an_unknown_ca(ca: PrivateCA, tmp_path: Path) -> None:
    """Nothing is sent, and the line says what to do."""
    async with open_shop(ca) as shop:
        proxy = f"--proxy={shop.proxy.full_url}"
        ended = await run_here(shop, proxy, *_CREATE, cwd=tmp_path)
        assert (shop.emulator.requests, shop.proxy.tunnels) == (0, 1)
    assert (ended.code, ended.err.count("\n")) == (4, 1)
    assert "--ca-file" in ended.err


async def test_an_emulator_is_called_directly() -> None:
    """A proxy of the environment, or of ours, does not see what is meant for this machine."""
    async with Emulator() as emulator, ConnectProxy() as proxy:
        names = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "JUNKIE_PROXY")
        env = emulator_environment(emulator, **dict.fromkeys(names, proxy.url))
        ended = await asyncio.to_thread(invoke, *_COUNT, env=env)
        assert (ended.code, ended.out, proxy.heads) == (0, "0\n", [])
