"""Outages of minutes: walks and jobs wait for the service, interactive calls fail at once."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import TypeVar

import pytest
from multidict import CIMultiDict

from junkie_async import (
    BatchError,
    ConnectError,
    Hooks,
    JunkieError,
    OutageEvent,
    Outcome,
    OutcomeUnknownError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    TransportError,
)
from junkie_async._http.send_state import SendState
from junkie_async._http.transport import Response
from junkie_async._keys.keys import Keys
from junkie_async._protocol import requests
from junkie_async.export import atomic_file, export_keys

from .clock import run
from .scripted import CREATE, FOLDERS, Script, delayed, hang, make_dispatcher, now

T = TypeVar("T")
POLICY = RetryPolicy()
PAGES = 30


class Service(Script):
    """Pages, batches and folders; from second 5 on it is down for ``down`` seconds."""

    def __init__(self, down: float, fail: Callable[[], Response]) -> None:
        super().__init__()
        self.down, self.fail, self.made, self.paths = down, fail, 0, list[tuple[float, str]]()

    async def attempt(
        self, request: requests.Request[object], state: SendState, left: float
    ) -> Response:
        """Answer after half a second, or fail."""
        self.paths.append((now(), f"{request.method} {request.path}"))
        if self.is_down():
            return self.fail()
        await asyncio.sleep(0.5)
        if self.is_down():
            raise ConnectError("refused")
        return 200, CIMultiDict(), json.dumps(self.make_body(request)).encode()

    def is_down(self) -> bool:
        """Whether requests fail now."""
        return 1005 <= now() < 1005 + self.down

    def make_body(self, request: requests.Request[object]) -> object:
        """Make the body of a good response."""
        if request.path == "/keys/batch":
            amount = json.loads(request.body or b"")["amount"]
            self.made += amount
            return {"keys": [f"K{self.made - at}" for at in range(amount)], "count": amount}
        if "folders" in request.path:
            return {"folders": []}
        number = int(request.target.split("page=")[1].split("&")[0])
        rows = [make_row(PAGES * 100 - number * 100 + at) for at in range(100)]
        stated = {"page": number, "limit": 100, "total": PAGES * 100, "totalPages": PAGES}
        return {"keys": rows if number <= PAGES else [], "pagination": stated}


def make_row(number: int) -> object:
    """Make a key."""
    return {
        "id": number + 1,
        "key_value": f"V{number}",
        "provider_id": 1,
        "service_id": 1,
        "created_at": "2026-01-01T00:00:00Z",
    }


def refuse() -> Response:
    """Fail before the request is sent."""
    raise ConnectError("refused")


def answer_503() -> Response:
    """Fail with a response."""
    return 503, CIMultiDict(), b"{}"


def lose() -> Response:
    """Fail while the request is carried out, perhaps."""
    raise TransportError("lost")


class Inline(Executor):
    """Runs at once: the virtual clock does not wait for threads."""

    def submit(self, fn: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        """Run it."""
        future = Future[T]()
        future.set_result(fn(*args, **kwargs))
        return future

    def __init__(self, *_: object, **__: object) -> None:
        """Take what a pool of threads takes."""


class Watch(Hooks):
    """Keeps the events of outages."""

    def __init__(self) -> None:
        self.events: list[OutageEvent] = []

    def on_outage(self, event: OutageEvent) -> None:
        """Keep it."""
        self.events.append(event)


async def call_often(keys: Keys, until: float) -> tuple[int, float]:
    """Make interactive calls; return how many failed, and the longest time of one that did."""
    failed, longest = 0, 0.0
    while now() < until:
        begin = now()
        try:
            await keys.folders()
        except JunkieError:
            failed += 1
            longest = max(longest, now() - begin) if begin > 1020 else longest
        await asyncio.sleep(random.Random(failed).uniform(1, 3))
    return failed, longest


@pytest.mark.parametrize("fail", [refuse, answer_503, lose])
def test_an_outage_of_five_minutes(
    fail: Callable[[], Response], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Walk, export and job end complete; 50 callers fail at once, without amplification."""
    monkeypatch.setattr(atomic_file, "ThreadPoolExecutor", Inline)

    async def main() -> None:
        service, watch = Service(300.0, fail), Watch()
        keys = Keys(make_dispatcher(service, POLICY, 16, [watch]))
        callers = [asyncio.create_task(call_often(keys, 1300)) for _ in range(50)]
        await asyncio.sleep(3)
        file = tmp_path / "keys.jsonl"
        export = asyncio.create_task(export_keys(keys.list(), file))
        walk = asyncio.create_task(keys.list().collect())
        if fail is refuse:  # the other two leave creates in doubt: those need a ledger
            assert (await keys.create_many(20_000, provider_id=1)).created == 20_000
        assert len({key.id for key in await walk}) == PAGES * 100
        assert await export == len({*file.read_text().splitlines()}) == PAGES * 100
        assert 1305 <= now() < 1350
        outcomes = await asyncio.gather(*callers)
        calls = sum(failed for failed, _ in outcomes)
        sent = sum(1020 < moment < 1300 for moment, _ in service.paths)
        assert sent <= 1.1 * calls
        assert max(longest for _, longest in outcomes) == 0
        probes = [at for at, path in service.paths if 1020 < at < 1300 and path == "GET /keys"]
        assert 30 < len(probes) < 60  # one at a time, up to 8 s apart
        assert {event.path for event in watch.events} >= {"/keys"}
        assert max(event.seconds for event in watch.events) > 280

    run(main())


@pytest.mark.parametrize("fail", [refuse, answer_503])
def test_an_outage_is_noticed_by_all_calls_together(fail: Callable[[], Response]) -> None:
    """A job's workers do not make five attempts each before the first of them waits."""

    async def main() -> None:
        service = Service(60.0, fail)
        dispatcher = make_dispatcher(service, POLICY, 40)
        await asyncio.sleep(6)
        calls = [dispatcher.send(FOLDERS, priority="job") for _ in range(32)]
        await asyncio.gather(*calls)
        assert sum(moment < 1016 for moment, _ in service.paths) <= 32 + 15
        assert now() < 1080

    run(main())


def test_dead_connections_are_no_outage() -> None:
    """All connections of a pool may be dead: all calls are sent again at once."""

    async def lose_late() -> Response:
        await asyncio.sleep(1)
        raise TransportError("lost")

    async def main() -> None:
        script = Script(*[lose_late] * 12)
        dispatcher = make_dispatcher(script, max_in_flight=16)
        await asyncio.gather(*(dispatcher.send(FOLDERS, priority="job") for _ in range(12)))
        assert [at for at, _ in script.began] == [1000] * 12 + [1001] * 12

    run(main())


def test_a_longer_outage_ends_a_walk_and_a_job() -> None:
    """They give up ``outage`` seconds after their first failure, with the last error."""

    async def main() -> None:
        service = Service(1e9, refuse)
        keys = Keys(make_dispatcher(service, RetryPolicy(outage=100.0), 16))
        await asyncio.sleep(6)
        job = asyncio.create_task(keys.create_many(2_000, provider_id=1)._run_to_end())
        with pytest.raises(ConnectError):
            await keys.list().collect()
        assert 1090 < now() < 1110
        with pytest.raises(BatchError) as ended:
            await job
        assert isinstance(ended.value.__cause__, ConnectError)
        assert 1090 < now() < 1110

    run(main())


def test_without_an_outage_walks_fail_as_interactive_calls() -> None:
    """``outage=0`` leaves the attempts of the policy."""

    async def main() -> None:
        service = Service(1e9, refuse)
        keys = Keys(make_dispatcher(service, RetryPolicy(outage=0.0)))
        await asyncio.sleep(6)
        with pytest.raises(ConnectError) as walk:
            await keys.list().collect()
        with pytest.raises(ConnectError) as call:
            await keys.folders()
        assert (walk.value.attempts, call.value.attempts) == (5, 5)

    run(main())


def test_what_is_no_outage_ends_at_once() -> None:
    """A refusal is final, and a create whose outcome is unknown is never sent again."""

    async def main() -> None:
        ends = {401: JunkieError, 500: OutcomeUnknownError}
        for status, error in ends.items():
            script = Script((status, CIMultiDict(), b""))
            with pytest.raises(error):
                await make_dispatcher(script).send(CREATE, priority="job")
            assert len(script.began) == 1

    run(main())


@pytest.mark.parametrize(("seconds", "attempts"), [("30", 6), ("3600", 5)])
def test_an_outage_that_states_its_end(seconds: str, attempts: int) -> None:
    """The next attempt comes then; what lasts longer than the call may wait ends it."""

    async def main() -> None:
        script = Script(
            *[(503, CIMultiDict[str](), b"")] * 4, (503, CIMultiDict({"Retry-After": seconds}), b"")
        )
        dispatcher = make_dispatcher(script)
        if attempts == 6:
            await dispatcher.send(FOLDERS, priority="job")
            assert script.began[5][0] - script.began[4][0] == pytest.approx(30, abs=0.1)
        else:
            with pytest.raises(ServerError):
                await dispatcher.send(FOLDERS, priority="job")
        assert len(script.began) == attempts

    run(main())


def test_instant_waits_shorten_what_a_call_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a test of an app, 20 s of waiting are 20 ms: for the waits of an outage, too."""
    monkeypatch.setenv("JUNKIE_TEST_INSTANT_WAITS", "1")

    async def main() -> None:
        script = Script(*[ConnectError("refused")] * 1000)
        dispatcher = make_dispatcher(script, RetryPolicy(wait_jitter=0.0))
        with pytest.raises(ConnectError):
            await dispatcher.send(FOLDERS, priority="job", max_seconds=20.0)
        assert now() - 1000 == pytest.approx(0.02, abs=0.01)

    run(main())


@pytest.mark.parametrize("seed", range(10))
def test_cancelled_calls_keep_no_other_from_probing(seed: int) -> None:
    """Whichever calls end amid an outage, the others go on and end with it."""

    async def main() -> None:
        dice, service = random.Random(seed), Service(60.0, refuse)
        dispatcher = make_dispatcher(service, POLICY, 2)
        await asyncio.sleep(5)
        calls = [
            asyncio.create_task(dispatcher.send(FOLDERS, priority=dice.choice(["walk", "job"])))
            for _ in range(12)
        ]
        for call in dice.sample(calls, 8):
            await asyncio.sleep(dice.uniform(0, 8))
            call.cancel()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        assert ended.count([]) >= 4
        assert now() < 1080
        assert dispatcher._state.throttle._in_flight == 0
        assert not dispatcher._outages._by_endpoint

    run(main())


def test_what_hooks_are_told_of_an_outage() -> None:
    """Which call fails and why, for how long it has and may, and when it is sent next."""

    async def main() -> None:
        watch, errors = Watch(), [ConnectError(f"refused {number}") for number in range(6)]
        policy = RetryPolicy(wait_initial=1.0, wait_max=5.0, wait_jitter=0.0, outage=90.0)
        dispatcher = make_dispatcher(Script(*errors), policy, hooks=[watch])
        await dispatcher.send(FOLDERS, priority="job")
        first, second = watch.events
        assert (first.method, first.path, first.limit) == ("GET", "/keys/folders", 90.0)
        assert (first.error, second.error) == (errors[4], errors[5])
        assert (first.wait, second.wait) == (1.0, 2.0)
        assert first.seconds == pytest.approx(1 + 2 + 4 + 5, abs=0.01)
        assert second.seconds == pytest.approx(first.seconds + first.wait, abs=0.01)

    run(main())


def test_a_call_that_can_not_probe_in_time() -> None:
    """Its patience ends while another one probes: with its own error, or as a time-out."""

    async def main() -> None:
        script = Script(delayed(40.0, answer_503()), *[ConnectError("refused")] * 5, hang)
        dispatcher = make_dispatcher(script, RetryPolicy(outage=100.0))
        before = asyncio.create_task(dispatcher.send(FOLDERS, priority="job"))
        await asyncio.sleep(0)
        probe = asyncio.create_task(dispatcher.send(FOLDERS, priority="walk"))
        await asyncio.sleep(30)
        with pytest.raises(RequestTimeoutError) as late:
            await dispatcher.send(FOLDERS, priority="job")
        assert now() == pytest.approx(1130, abs=0.1)
        assert (late.value.outcome, late.value.transient) == (Outcome.NOT_EXECUTED, False)
        with pytest.raises(ServerError) as failed:
            await before
        assert now() == pytest.approx(1140, abs=0.1)
        assert (late.value.attempts, failed.value.attempts) == (0, 1)
        assert len(script.began) == 7
        probe.cancel()

    run(main())
