"""Fault injection: drawn without I/O, and over real connections."""

import asyncio
import contextlib
import logging
from collections import Counter
from typing import Any

import aiohttp
import attrs
import pytest
import yarl

from junkie_async.emulator import Emulator, Faults
from junkie_async.emulator.faults import Fault, FaultInjector
from junkie_async.emulator.request_validation import load_operations

from .conftest import Api

LOST = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


def _always(kind: str, **options: Any) -> Faults:
    options[f"{kind}_rate"] = 1
    return Faults(**options)


def _draws(faults: Faults) -> list[Fault]:
    injector = FaultInjector(faults)
    return [injector.draw("getKey") for _ in range(4000)]


# --- draws ----------------------------------------------------------------------------------------


def test_no_faults_by_default() -> None:
    """The defaults inject nothing, with a seed or without."""
    assert set(_draws(Faults()) + _draws(Faults(seed=1))) == {Fault()}


def test_each_fault_has_its_share() -> None:
    """The observed shares match the rates."""
    draws = _draws(
        Faults(
            error_rate=0.1, drop_before_rate=0.2, drop_after_rate=0.3, throttle_rate=0.05, seed=7
        )
    )
    shares = {kind: n / len(draws) for kind, n in Counter(one.kind for one in draws).items()}
    assert shares == pytest.approx(
        {"error": 0.1, "drop_before": 0.2, "drop_after": 0.3, "throttle": 0.05, None: 0.35},
        abs=0.03,
    )


@pytest.mark.parametrize("kind", ["error", "drop_before", "drop_after", "throttle"])
def test_a_rate_of_one_is_every_request(kind: str) -> None:
    """A rate of 1 leaves nothing to chance."""
    assert {one.kind for one in _draws(_always(kind))} == {kind}


def test_rates_may_add_up_to_one() -> None:
    """Rates whose plain float sum exceeds 1 are accepted."""
    draws = _draws(Faults(error_rate=0.33, drop_before_rate=0.56, throttle_rate=0.11))
    assert {one.kind for one in draws} == {"error", "drop_before", "throttle"}


def test_an_error_has_one_of_the_statuses() -> None:
    """Several statuses are equally likely."""
    statuses = Counter(
        one.status for one in _draws(Faults(error_rate=1, error_status=[500, 502], seed=3))
    )
    assert statuses == {500: pytest.approx(2000, abs=150), 502: pytest.approx(2000, abs=150)}


def test_throttling_comes_in_bursts() -> None:
    """Each burst has the given length and one Retry-After."""
    draws = _draws(Faults(throttle_rate=0.05, throttle_burst=3, retry_after=7, seed=5))
    refused = "".join("x" if one == Fault("throttle", 429, 7) else "." for one in draws)
    runs = {len(run) for run in refused.split(".") if run}
    assert {3} <= runs <= {3, 6, 9, 12}
    assert refused.count("x") / len(draws) == pytest.approx(0.15 / 1.1, abs=0.03)


@pytest.mark.parametrize("latency", [0.25, (0.1, 0.4)])
def test_the_latency_lies_between_its_bounds(latency: Any) -> None:
    """It is distributed evenly, whatever other fault a request has."""
    seconds = [one.latency for one in _draws(Faults(error_rate=0.5, latency=latency, seed=1))]
    least, most = latency if isinstance(latency, tuple) else (latency, latency)
    assert least <= min(seconds) <= max(seconds) <= most
    assert sum(seconds) / len(seconds) == pytest.approx(0.25, abs=0.01)


def test_a_seed_repeats_the_faults() -> None:
    """Another seed, and no seed, inject other faults."""
    faults = Faults(error_rate=0.2, drop_after_rate=0.2, error_status=(500, 503))
    one, two = attrs.evolve(faults, seed=1), attrs.evolve(faults, seed=2)
    assert _draws(one) == _draws(one)
    assert _draws(one) != _draws(two)
    assert _draws(faults) != _draws(faults)


def test_statuses_and_latency_do_not_move_faults() -> None:
    """With one seed the same requests fail, whatever the statuses and the latency."""
    plain = Faults(error_rate=0.2, seed=1)
    other = attrs.evolve(plain, error_status=(500, 503), latency=(0, 1))
    assert [one.kind for one in _draws(plain)] == [one.kind for one in _draws(other)]


def test_only_the_given_operations_fail() -> None:
    """Other operations pass without a draw; by default every request can fail."""
    faults = Faults(error_rate=0.5, operations=["createKey", "deleteKey"], seed=1)
    alone, among = FaultInjector(faults), FaultInjector(faults)
    for _ in range(100):
        assert (among.draw("getKey"), among.draw(None)) == (Fault(), Fault())
        assert among.draw("createKey") == alone.draw("createKey")
    assert FaultInjector(Faults(error_rate=1)).draw(None).kind == "error"
    assert Faults(operations="createKey") == Faults(operations={"createKey"})


def test_faults_are_values() -> None:
    """They compare by value and are frozen."""
    names = [operation.operation_id for operation in load_operations()]
    faults = Faults(error_rate=0.5, error_status=500, latency=1, operations=names)
    assert attrs.evolve(faults, seed=1) == Faults(
        error_rate=0.5, error_status=(500,), latency=(1, 1), operations=set(names), seed=1
    )
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        faults.error_rate = 1  # type: ignore[misc]


# --- over HTTP ------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _check_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Any:
    """Neither the emulator, aiohttp nor asyncio logs a fault."""
    yield
    assert [one for one in caplog.get_records("call") if one.levelno >= logging.WARNING] == []


async def test_an_error_is_not_carried_out(emulator: Emulator, api: Api) -> None:
    """It counts as a response, but not as a call."""
    emulator.faults = Faults(error_rate=1, error_status=502)
    reply = await api("POST", "/keys", {"provider_id": 1})
    assert (reply.status, reply.body.keys()) == (502, {"error"})
    assert "Retry-After" not in reply.headers
    assert await emulator.count() == 0
    assert (emulator.requests, emulator.statuses, emulator.calls) == (1, {502: 1}, {})
    assert emulator.faults_injected == {"error": 1}


async def test_drop_before_is_not_carried_out(emulator: Emulator, api: Api) -> None:
    """It counts neither as a response nor as a call."""
    emulator.faults = Faults(drop_before_rate=1)
    with pytest.raises(LOST):
        await api.create()
    assert await emulator.count() == 0
    assert (emulator.requests, emulator.statuses, emulator.calls) == (0, {}, {})
    assert emulator.faults_injected == {"drop_before": 1}


async def test_drop_after_is_carried_out(emulator: Emulator, api: Api) -> None:
    """It counts as a call, but not as a response."""
    emulator.faults = Faults(drop_after_rate=1)
    with pytest.raises(LOST):
        await api.create()
    assert await emulator.count() == 1
    assert (emulator.requests, emulator.statuses, emulator.calls) == (0, {}, {"createKey": 1})
    assert emulator.faults_injected == {"drop_after": 1}


@pytest.mark.parametrize("retry_after", [0, 3, None])
async def test_throttling_is_429(emulator: Emulator, api: Api, retry_after: int | None) -> None:
    """Retry-After is the given one, or absent; nothing is carried out."""
    emulator.faults = Faults(throttle_rate=1, retry_after=retry_after)
    reply = await api("POST", "/keys", {"provider_id": 1})
    assert (reply.status, reply.body.keys()) == (429, {"error"})
    sent = reply.headers.get("Retry-After")
    assert sent == (None if retry_after is None else str(retry_after))
    assert await emulator.count() == 0
    assert (emulator.requests, emulator.statuses, emulator.calls) == (1, {429: 1}, {})
    assert emulator.faults_injected == {"throttle": 1}


async def test_fault_latency_adds_to_the_latency(emulator: Emulator, api: Api) -> None:
    """Errors and aborted connections are delayed too."""
    loop = asyncio.get_running_loop()
    emulator.latency = 0.02
    for kind in ("error", "drop_before", "drop_after", "throttle"):
        emulator.faults = _always(kind, latency=(0.03, 0.04))
        before = loop.time()
        with contextlib.suppress(*LOST):
            await api("POST", "/keys", {"provider_id": 1})
        assert loop.time() - before >= 0.05
    emulator.faults = Faults(latency=0.001)
    assert len(await api.ids()) == 1
    assert emulator.faults_injected["latency"] == 5


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
@pytest.mark.parametrize("latency", [0, 0.005])
async def test_an_aborted_connection_sends_no_byte(
    emulator: Emulator, kind: str, latency: float
) -> None:
    """Also on a reused connection with pipelined requests."""
    url = yarl.URL(emulator.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    request = b"GET /api/v2/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n"
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
    emulator.faults = _always(kind, latency=latency)
    writer.write(request * 3)
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()
    assert emulator.faults_injected[kind] == 1
    assert emulator.requests == 1


async def test_drop_before_does_not_wait_for_the_body(emulator: Emulator, api: Api) -> None:
    """The connection is aborted while the client still sends."""
    emulator.faults = Faults(drop_before_rate=1)
    never = asyncio.Event()

    async def body() -> Any:
        yield b'{"provider_id"'
        await never.wait()

    async with asyncio.timeout(5):
        with pytest.raises(LOST):
            await api("POST", "/keys", data=body(), headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("kind", ["drop_before", "drop_after", "error", "throttle"])
async def test_a_client_may_disconnect_before_its_fault(
    emulator: Emulator, api: Api, kind: str
) -> None:
    """A fault on a closed connection is counted and raises nothing."""
    emulator.faults = _always(kind, latency=0.02)
    url = yarl.URL(emulator.url)
    _, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"GET /api/v2/keys HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer x\r\n\r\n")
    while not emulator.faults_injected:
        await asyncio.sleep(0)
    writer.transport.abort()
    with contextlib.suppress(*LOST):
        await api("POST", "/keys", {"provider_id": 1})  # comes later, so it is over later
    assert emulator.faults_injected == {kind: 2, "latency": 2}


async def test_many_drops_leave_a_working_service(emulator: Emulator, api: Api) -> None:
    """With half of the concurrent connections aborted, the counters match the store."""
    emulator.faults = Faults(drop_before_rate=0.25, drop_after_rate=0.25, seed=1)
    creations = [api("POST", "/keys", {"provider_id": 1}) for _ in range(200)]
    results = await asyncio.gather(*creations, return_exceptions=True)
    lost = [one for one in results if isinstance(one, BaseException)]
    assert all(isinstance(one, LOST) for one in lost)
    injected = emulator.faults_injected
    assert len(lost) == injected["drop_before"] + injected["drop_after"] > 50
    assert await emulator.count() == emulator.calls["createKey"] == 200 - injected["drop_before"]
    assert emulator.requests == emulator.statuses[201] == 200 - len(lost)
    emulator.faults = None
    assert (await api("GET", "/keys")).status == 200


async def test_faults_repeat_with_their_seed(session: aiohttp.ClientSession) -> None:
    """A second emulator, or setting the faults again, repeats the sequence."""
    faults = Faults(error_rate=0.4, error_status=(500, 502, 503), seed=11)
    runs = []
    for _ in range(2):
        async with Emulator(faults=faults) as emulator:
            api = Api(session, emulator.url)
            for _ in range(2):
                runs.append([(await api("GET", "/keys")).status for _ in range(20)])
                emulator.faults = faults
    assert runs == [runs[0]] * 4
    assert set(runs[0]) == {200, 500, 502, 503}


async def test_faults_are_limited_to_operations(emulator: Emulator, api: Api) -> None:
    """Without `operations`, unknown paths fail too."""
    emulator.faults = Faults(error_rate=1, operations="createKeyBatch")
    batch = await api("POST", "/keys/batch", {"provider_id": 1, "amount": 1})
    others = [await api("GET", "/keys/folders"), await api("GET", "/keys/99")]
    assert [one.status for one in (batch, *others)] == [503, 200, 404]
    emulator.faults = Faults(error_rate=1)
    assert [(await api("GET", path)).status for path in ("/keys", "/nothing")] == [503, 503]


async def test_faults_can_be_set_and_removed(emulator: Emulator, api: Api) -> None:
    """At run time, and without resetting the counters."""
    assert emulator.faults is None
    statuses = []
    for faults in (Faults(error_rate=1), Faults(throttle_rate=1), None, Faults(error_rate=1)):
        emulator.faults = faults
        assert emulator.faults is faults
        statuses.append((await api("GET", "/keys")).status)
    assert statuses == [503, 429, 200, 503]
    assert emulator.faults_injected == {"error": 2, "throttle": 1}


async def test_faults_come_before_all_other_checks(
    session: aiohttp.ClientSession,
) -> None:
    """An injected error needs no API key, takes no token and has no rate-limit headers."""
    async with Emulator(rate_limit=0.01, rate_limit_headers=True) as emulator:
        emulator.faults = Faults(throttle_rate=1)
        api = Api(session, emulator.url)
        for _ in range(3):
            reply = await api("GET", "/keys", headers={"Authorization": ""})
            assert (reply.status, "RateLimit-Limit" in reply.headers) == (429, False)
        emulator.faults = Faults(drop_after_rate=1)
        with pytest.raises(LOST):
            await api("GET", "/keys")
        emulator.faults = None
        assert (await api("GET", "/keys")).status == 429
