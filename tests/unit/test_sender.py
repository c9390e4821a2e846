"""A call's way through turns, attempts and waits, on a clock that leaps and without a socket."""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Callable, Coroutine

import pytest

from junkie_async import (
    ClientClosedError,
    ConnectError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    Outcome,
    OutcomeUnknownError,
    RateLimitError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    TransportError,
)
from junkie_async._http.dispatcher import Dispatcher
from junkie_async._http.throttle import Priority
from junkie_async._http.transport import Response, SendState, Transport
from junkie_async._protocol import requests

from .clock import run

FOLDERS = requests.list_folders()
CREATE = requests.create_key({"provider_id": 1})
GOOD: Response = (200, {}, b'{"folders": []}')
STEADY = RetryPolicy(wait_initial=1.0, wait_jitter=0.0)


class Script(Transport):
    """A transport that plays a script: an answer, an error, or something to await for one."""

    def __init__(
        self, *steps: Response | JunkieError | Callable[[], Coroutine[None, None, Response]]
    ):
        super().__init__(base_url="http://127.0.0.1", api_key="secret", timeout=30.0, session=None)
        self.steps = list(steps)
        self.began: list[tuple[float, float]] = []

    async def attempt(
        self, call: requests.Request[object], progress: SendState, left: float
    ) -> Response:
        """Play the next step; note when it began, and how long it might take."""
        self.began.append((round(now(), 3), round(left, 3)))
        step = self.steps.pop(0) if self.steps else GOOD
        if isinstance(step, JunkieError):
            raise step
        return step if isinstance(step, tuple) else await step()


def now() -> float:
    """Tell the loop's time, which begins at 1000."""
    return asyncio.get_running_loop().time()


def sender(transport: Transport, retry: RetryPolicy = STEADY, max_in_flight: int = 4) -> Dispatcher:
    """Make a sender over a script."""
    return Dispatcher(
        transport, api_key="secret", retry=retry, max_in_flight=max_in_flight, rate_limit=None
    )


async def hangs() -> Response:
    """Never answer."""
    await asyncio.Event().wait()
    return GOOD


def slow(took: float, answer: Response = GOOD) -> Callable[[], Coroutine[None, None, Response]]:
    """Answer after a while."""

    async def step() -> Response:
        await asyncio.sleep(took)
        return answer

    return step


def test_the_deadline_is_one_for_attempts_and_waits() -> None:
    """Each attempt may take what is left of it, and no wait begins that goes beyond it."""

    async def main() -> None:
        lost = TransportError("lost")
        script = Script(*(slow(10, (500, {}, b"")) for _ in range(3)), lost)
        policy = RetryPolicy(wait_initial=1.0, wait_jitter=0.0, deadline=30.0)
        with pytest.raises(ServerError) as caught:
            await sender(script, policy).send(FOLDERS)
        # 10 s, wait 1, 10 s, wait 2: 7 s are left for the third, and none after it.
        assert script.began == [(1000, 30), (1011, 19), (1023, 7)]
        assert caught.value.attempts == 3

    run(main())


def test_waiting_for_a_turn_counts() -> None:
    """A call that gets no turn within its deadline ends there, unsent; a patient one waits."""

    async def main() -> None:
        script = Script(slow(60))
        one = sender(script, RetryPolicy(deadline=20.0), max_in_flight=1)
        first = asyncio.create_task(one.send(FOLDERS, priority=Priority.JOB))
        await asyncio.sleep(0)
        patient = asyncio.create_task(one.send(FOLDERS, priority=Priority.JOB))
        with pytest.raises(RequestTimeoutError) as caught:
            await one.send(FOLDERS)
        assert now() == pytest.approx(1020)
        assert (caught.value.outcome, caught.value.attempts) == (Outcome.NOT_EXECUTED, 0)
        assert (await first, await patient) == ([], [])
        assert now() == pytest.approx(1060)

    run(main())


def test_a_pause_that_is_too_long_for_a_call_raises_at_once() -> None:
    """Somebody else's 429 asks for more than the call's deadline: it is told so, not kept."""

    async def main() -> None:
        one = sender(Script((429, {"Retry-After": "60"}, b"")), RetryPolicy(deadline=30.0))
        with pytest.raises(RateLimitError, match="429") as asked:
            await one.send(FOLDERS)
        with pytest.raises(RateLimitError) as other:
            await one.send(FOLDERS)
        assert now() == pytest.approx(1000)
        assert (asked.value.attempts, other.value.attempts) == (1, 0)
        assert other.value.retry_after == pytest.approx(60)

    run(main())


def test_all_wait_where_one_was_refused() -> None:
    """A 429 holds the call that got it and all others, and they come back one by one."""

    async def main() -> None:
        script = Script(slow(1, (429, {"Retry-After": "7"}, b"")), slow(2), slow(2))
        one = sender(script)
        calls = [asyncio.create_task(one.send(FOLDERS)) for _ in range(3)]
        await asyncio.sleep(1.5)
        calls += [asyncio.create_task(one.send(FOLDERS)) for _ in range(4)]
        await asyncio.gather(*calls)
        began = [moment for moment, _ in script.began]
        assert began[:3] == [1000] * 3
        assert began[3] == pytest.approx(1008, abs=0.1)  # told at 1001
        assert len(set(began[3:])) == 5

    run(main())


@pytest.mark.parametrize("call", [FOLDERS, CREATE], ids=["repeatable", "once"])
def test_closing_wakes_a_call_that_waits_to_be_sent_again(call: requests.Request[object]) -> None:
    """Between two attempts, and in a pause, `close` ends a call within the turn of the loop."""

    async def main() -> None:
        for step in (ConnectError("refused"), (429, {"Retry-After": "100"}, b"")):
            one = sender(Script(step), RetryPolicy(wait_initial=100, wait_max=100))
            waiting = asyncio.create_task(one.send(call))
            await asyncio.sleep(50)
            assert not waiting.done()
            begin = now()
            await one.close()
            with pytest.raises(ClientClosedError) as caught:
                await waiting
            assert now() == pytest.approx(begin)
            assert (caught.value.attempts, caught.value.outcome) == (1, Outcome.NOT_EXECUTED)
            assert caught.value.__context__ is None

    run(main())


def test_a_cancelled_wait_is_cancelled_at_once() -> None:
    """Cancellation between two attempts is what it is, and not an error of ours."""

    async def main() -> None:
        one = sender(Script(ConnectError("refused")), RetryPolicy(wait_initial=100, wait_max=100))
        begin = now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await one.send(FOLDERS)
        assert now() == pytest.approx(begin + 3)
        await one.close()

    run(main())


def test_flights_are_told() -> None:
    """True when an attempt begins; False when it can't have acted; nothing after a good answer."""

    async def main() -> None:
        told: list[bool] = []
        script = Script(ConnectError("refused"), (429, {"Retry-After": "1"}, b""))
        await sender(script).send(FOLDERS, on_in_flight=told.append)
        assert told == [True, False, True, False, True]
        told.clear()
        with pytest.raises(OutcomeUnknownError):
            await sender(Script(TransportError("lost"))).send(CREATE, on_in_flight=told.append)
        assert told == [True]

    run(main())


@pytest.mark.parametrize(("sent", "told"), [(False, [True, False]), (True, [True]), (None, [True])])
def test_a_cancelled_attempt_tells_whether_it_was_sent(sent: bool | None, told: list[bool]) -> None:
    """What was cancelled before it was sent has not been carried out."""

    class Hangs(Script):
        async def attempt(self, call: object, progress: SendState, left: float) -> Response:
            progress.sent = sent
            return await hangs()

    async def main() -> None:
        heard: list[bool] = []
        one = sender(Hangs())
        call = asyncio.create_task(one.send(CREATE, on_in_flight=heard.append))
        await asyncio.sleep(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert heard == told

    run(main())


def test_each_attempt_is_a_line_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    """Method, path template, how it ended, attempt, milliseconds; and no key value."""

    async def main() -> None:
        script = Script(TransportError("lost"), (500, {}, b""), (404, {}, b"{}"))
        with pytest.raises(JunkieError):
            await sender(script).send(requests.get_key("JNK-SECRET"))

    with caplog.at_level(logging.DEBUG, "junkie_async"):
        run(main())
    lines = [record.getMessage() for record in caplog.records if record.name == "junkie_async"]
    assert [line.rpartition(", ")[0] for line in lines] == [
        "GET /keys/{keyId}: TransportError, attempt 1",
        "GET /keys/{keyId}: 500, attempt 2",
        "GET /keys/{keyId}: 404, attempt 3",
    ]
    assert all(line.endswith(" ms") for line in lines)
    assert "SECRET" not in caplog.text


def test_without_debug_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The usual way costs no line."""
    with caplog.at_level(logging.INFO):
        run(sender(Script()).send(FOLDERS))
    assert not caplog.records


def test_an_answer_is_read_when_it_is_wanted() -> None:
    """What `fetch` gives reads it; one that can't be read is fetched once more, then an error."""
    broken: Response = (200, {}, b'{"folders": [SECRET')

    async def main() -> None:
        script = Script(broken, GOOD, broken, broken)
        one = sender(script)
        read = await one.fetch(FOLDERS)
        assert len(script.began) == 1
        assert "SECRET" not in repr(read)  # a task that has it as its result may be logged
        assert await read() == []
        assert len(script.began) == 2
        read = await one.fetch(FOLDERS)
        assert len(script.began) == 3
        with pytest.raises(InvalidResponseError) as caught:
            await read()
        assert (caught.value.path, caught.value.attempts) == ("/keys/folders", 2)
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)

    run(main())


def test_a_failed_fetch_is_sent_again_before_it_is_read() -> None:
    """Nothing of the waits is left for the reader."""

    async def main() -> None:
        script = Script((500, {}, b""), GOOD)
        read = await sender(script).fetch(FOLDERS)
        assert now() == pytest.approx(1001)
        assert len(script.began) == 2
        assert await read() == await read() == []

    run(main())


def test_a_client_is_not_pickled() -> None:
    """It holds the API key."""
    client = JunkieClient("secret", base_url="http://127.0.0.1:9")
    for value in (client, client.keys):
        with pytest.raises(TypeError, match="API key"):
            pickle.dumps(value)
