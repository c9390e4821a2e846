"""A call through slots, attempts and waits, on a virtual clock and without a socket."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import random

import pytest
from multidict import CIMultiDict

from junkie_async import (
    APIError,
    ClientClosedError,
    ConnectError,
    Hooks,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    NotFoundError,
    Outcome,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    RetryEvent,
    RetryPolicy,
    ServerError,
    TransportError,
)
from junkie_async._hooks import RequestStatus
from junkie_async._http.send_state import SendState
from junkie_async._http.throttle import Priority
from junkie_async._http.transport import Response
from junkie_async._protocol import requests

from .clock import run
from .random_headers import random_headers
from .scripted import (
    CREATE,
    FOLDERS,
    GOOD,
    Script,
    delayed,
    hang,
    make_client,
    make_dispatcher,
    now,
)


def test_the_deadline_covers_attempts_and_waits() -> None:
    """Each attempt may take what is left of it, and no wait begins that would exceed it."""

    async def main() -> None:
        lost = TransportError("lost")
        script = Script(*(delayed(10, (500, {}, b"")) for _ in range(3)), lost)
        policy = RetryPolicy(wait_initial=1.0, wait_jitter=0.0, deadline=30.0)
        with pytest.raises(ServerError) as caught:
            await make_dispatcher(script, policy).send(FOLDERS)
        # 10 s, wait 1, 10 s, wait 2: 7 s are left for the third, and none after it.
        assert script.began == [(1000, 30), (1011, 19), (1023, 7)]
        assert caught.value.attempts == 3

    run(main())


def test_waiting_for_a_slot_counts_against_the_deadline() -> None:
    """An interactive call without a slot ends unsent at its deadline; a job's call waits."""

    async def main() -> None:
        script = Script(delayed(60))
        dispatcher = make_dispatcher(script, RetryPolicy(deadline=20.0), max_in_flight=1)
        first = asyncio.create_task(dispatcher.send(FOLDERS, priority="job"))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(dispatcher.send(FOLDERS, priority="job"))
        with pytest.raises(RequestTimeoutError) as caught:
            await dispatcher.send(FOLDERS)
        assert now() == pytest.approx(1020)
        assert (caught.value.outcome, caught.value.attempts) == (Outcome.NOT_EXECUTED, 0)
        assert (await first, await waiting) == ([], [])
        assert now() == pytest.approx(1060)

    run(main())


def test_a_pause_beyond_the_deadline_raises_immediately() -> None:
    """A 429 asks for more than the deadline: this call and the next raise without waiting."""

    async def main() -> None:
        dispatcher = make_dispatcher(
            Script((429, {"Retry-After": "60"}, b"")), RetryPolicy(deadline=30.0)
        )
        with pytest.raises(RateLimitError) as asked:
            await dispatcher.send(FOLDERS)
        with pytest.raises(RateLimitError) as other:
            await dispatcher.send(FOLDERS)
        assert now() == pytest.approx(1000)
        assert (asked.value.attempts, other.value.attempts) == (1, 0)
        assert asked.value.status == 429
        assert other.value.retry_after == pytest.approx(60)

    run(main())


def test_a_refusal_pauses_all_calls() -> None:
    """After a 429 its own call and all others wait, and then get slots one by one."""

    async def main() -> None:
        refusal = delayed(1, (429, {"Retry-After": "7"}, b""))
        script = Script(GOOD, refusal, delayed(2), delayed(2))
        dispatcher = make_dispatcher(script)
        await dispatcher.send(FOLDERS)
        script.began.clear()
        calls = [asyncio.create_task(dispatcher.send(FOLDERS)) for _ in range(3)]
        await asyncio.sleep(1.5)
        calls += [asyncio.create_task(dispatcher.send(FOLDERS)) for _ in range(4)]
        await asyncio.gather(*calls)
        began = [moment for moment, _ in script.began]
        assert began[:3] == [1000] * 3
        assert began[3] == pytest.approx(1008, abs=0.1)  # refused at 1001
        assert len(set(began[3:])) == 5

    run(main())


@pytest.mark.parametrize("request_", [FOLDERS, CREATE], ids=["idempotent", "non_idempotent"])
def test_closing_ends_a_call_that_waits_for_its_retry(request_: requests.Request[object]) -> None:
    """Between two attempts, and in a pause, `close` ends a call without delay."""

    async def main() -> None:
        for step in (ConnectError("refused"), (429, {"Retry-After": "100"}, b"")):
            dispatcher = make_dispatcher(Script(step), RetryPolicy(wait_initial=100, wait_max=100))
            waiting = asyncio.create_task(dispatcher.send(request_))
            await asyncio.sleep(50)
            assert not waiting.done()
            begin = now()
            await dispatcher.close()
            with pytest.raises(ClientClosedError) as caught:
                await waiting
            assert now() == pytest.approx(begin)
            assert (caught.value.attempts, caught.value.outcome) == (1, Outcome.NOT_EXECUTED)
            assert caught.value.__context__ is None

    run(main())


def test_a_cancelled_wait_ends_immediately() -> None:
    """Cancellation between two attempts is passed on, not turned into an error of ours."""

    async def main() -> None:
        dispatcher = make_dispatcher(
            Script(ConnectError("refused")), RetryPolicy(wait_initial=100, wait_max=100)
        )
        begin = now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await dispatcher.send(FOLDERS)
        assert now() == pytest.approx(begin + 3)
        await dispatcher.close()

    run(main())


IN_FLIGHT, UNCONFIRMED = RequestStatus.IN_FLIGHT, RequestStatus.UNCONFIRMED
NOT_EXECUTED = RequestStatus.NOT_EXECUTED


def test_status_of_requests() -> None:
    """A job learns when a request begins, and what is certain once none is in flight."""

    async def main() -> None:
        reported: list[RequestStatus] = []
        script = Script(ConnectError("refused"), (429, {"Retry-After": "1"}, b""))
        await make_dispatcher(script).send(FOLDERS, on_status=reported.append)
        assert reported == [IN_FLIGHT, NOT_EXECUTED, IN_FLIGHT, NOT_EXECUTED, IN_FLIGHT]
        reported.clear()
        with pytest.raises(OutcomeUnknownError):
            await make_dispatcher(Script(TransportError("lost"))).send(
                CREATE, on_status=reported.append
            )
        assert reported == [IN_FLIGHT]

    run(main())


def test_a_refusal_does_not_confirm_the_attempts_before_it() -> None:
    """An update whose response was lost may have been carried out, whatever comes after it."""

    async def main() -> None:
        reported: list[RequestStatus] = []
        script = Script(TransportError("lost"), ConnectError("refused"))
        await make_dispatcher(script).send(FOLDERS, on_status=reported.append)
        assert reported == [IN_FLIGHT, IN_FLIGHT, UNCONFIRMED, IN_FLIGHT]

    run(main())


@pytest.mark.parametrize(
    ("sent", "expected"), [(False, [IN_FLIGHT, NOT_EXECUTED]), (True, [IN_FLIGHT])]
)
def test_a_cancelled_attempt_reports_whether_it_was_sent(
    sent: bool, expected: list[RequestStatus]
) -> None:
    """A request that was cancelled before it was sent has not been carried out."""

    class Hangs(Script):
        async def attempt(self, request: object, state: SendState, left: float) -> Response:
            state.sent = sent
            return await hang()

    async def main() -> None:
        reported: list[RequestStatus] = []
        dispatcher = make_dispatcher(Hangs())
        call = asyncio.create_task(dispatcher.send(CREATE, on_status=reported.append))
        await asyncio.sleep(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert reported == expected

    run(main())


def test_each_attempt_is_a_line_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    """Method, path template, result, attempt, milliseconds; and no key value."""

    async def main() -> None:
        script = Script(TransportError("lost"), (500, {}, b""), (404, {}, b"{}"))
        with pytest.raises(JunkieError):
            await make_dispatcher(script).send(requests.get_key("JNK-SECRET"))

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
    """A successful call logs nothing above DEBUG."""
    with caplog.at_level(logging.INFO):
        run(make_dispatcher(Script()).send(FOLDERS))
    assert not caplog.records


def test_a_response_is_read_on_demand() -> None:
    """`fetch` returns its reader. An unreadable response is fetched once more, then an error."""
    broken: Response = (200, {}, b'{"folders": [SECRET')

    async def main() -> None:
        script = Script(broken, GOOD, broken, broken)
        dispatcher = make_dispatcher(script)
        read = await dispatcher.fetch(FOLDERS)
        assert len(script.began) == 1
        assert "SECRET" not in repr(read)  # a task that has it as its result may be logged
        assert await read() == []
        assert len(script.began) == 2
        read = await dispatcher.fetch(FOLDERS)
        assert len(script.began) == 3
        with pytest.raises(InvalidResponseError) as caught:
            await read()
        assert (caught.value.path, caught.value.attempts) == ("/keys/folders", 2)
        assert (caught.value.__cause__, caught.value.__context__) == (None, None)

    run(main())


def test_a_failed_fetch_is_sent_again_before_it_is_read() -> None:
    """The reader of a fetched response does not wait."""

    async def main() -> None:
        script = Script((500, {}, b""), GOOD)
        read = await make_dispatcher(script).fetch(FOLDERS)
        assert now() == pytest.approx(1001)
        assert len(script.began) == 2
        assert await read() == await read() == []

    run(main())


def test_a_client_is_not_pickled() -> None:
    """It holds the API key."""
    client = JunkieClient("secret", base_url="http://127.0.0.1:9")
    for value in (client, client.keys):
        with pytest.raises(TypeError):
            pickle.dumps(value)


def test_a_dead_connection_costs_no_wait() -> None:
    """A first attempt that was lost drew a dead connection, most likely: a new one is tried."""

    async def main() -> None:
        lost, events = TransportError("lost"), list[RetryEvent]()

        class Watch(Hooks):
            def on_retry(self, event: RetryEvent) -> None:
                events.append(event)

        script = Script(lost, TransportError("lost"), GOOD, ConnectError("refused"))
        dispatcher = make_dispatcher(script, hooks=[Watch()])
        await dispatcher.send(FOLDERS)
        await dispatcher.send(FOLDERS)
        assert [at for at, _ in script.began] == [1000, 1000, 1002, 1002, 1003]
        assert [event.seconds for event in events] == pytest.approx([0, 2, 1], abs=1e-3)
        assert [event.attempt for event in events] == [2, 3, 2]
        assert (events[0].method, events[0].path) == ("GET", "/keys/folders")
        assert events[0].error is lost

    run(main())


@pytest.mark.parametrize(
    ("make", "attempts"),
    [(RequestTimeoutError, 51), (ConnectError, 100)],
    ids=["late", "refused"],
)
def test_the_budget_ends_a_call(make: type[JunkieError], attempts: int) -> None:
    """A time-out costs double. Jobs have a budget of their own."""

    async def main() -> None:
        policy = RetryPolicy(attempts=100, wait_initial=0, wait_jitter=0, outage=0)
        dispatcher = make_dispatcher(Script(*[make("down")] * 300), policy)
        priorities: tuple[Priority, ...] = ("interactive", "job")
        for priority in priorities:
            with pytest.raises(make) as caught:
                await dispatcher.send(FOLDERS, priority=priority)
            assert caught.value.attempts == attempts

    run(main())


@pytest.mark.parametrize("broken", [False, True])
def test_a_success_pays_for_its_retry(broken: bool) -> None:
    """Though every other request fails, or can't be read, no call does."""

    async def main() -> None:
        bad: Response = (200, {}, b"{") if broken else (500, {}, b"")
        policy = RetryPolicy(attempts=2, wait_initial=0, wait_jitter=0)
        script = Script(*[bad, GOOD] * 200)
        dispatcher = make_dispatcher(script, policy)
        for number in range(200):
            if number % 2:
                assert await dispatcher.send(FOLDERS) == []
            else:
                assert await (await dispatcher.fetch(FOLDERS))() == []
        assert len(script.began) == 400

    run(main())


def test_a_retry_has_the_priority_of_its_call() -> None:
    """A job's calls that are sent again leave the slot that is kept free."""

    async def main() -> None:
        script = Script(ConnectError("refused"), ConnectError("refused"), hang)
        dispatcher = make_dispatcher(script, max_in_flight=2)
        jobs = [asyncio.create_task(dispatcher.send(FOLDERS, priority="job")) for _ in range(2)]
        await asyncio.sleep(10)
        assert len(script.began) == 3  # one of them hangs, the other one waits for its slot
        await dispatcher.send(FOLDERS)
        assert now() == pytest.approx(1010)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await asyncio.gather(*(dispatcher.send(FOLDERS, priority="job") for _ in range(5)))

    run(main())


def test_a_delete_that_was_carried_out_already() -> None:
    """A 404 after a lost response confirms it. A 404 alone says that there was no such key."""

    async def main() -> None:
        gone: Response = (404, {}, b"{}")
        await make_dispatcher(Script(TransportError("lost"), gone)).send(requests.delete_key("7"))
        for steps in ([gone], [ConnectError("refused"), gone]):
            with pytest.raises(NotFoundError):
                await make_dispatcher(Script(*steps)).send(requests.delete_key("7"))
        with pytest.raises(NotFoundError):
            await make_dispatcher(Script(TransportError("lost"), gone)).send(FOLDERS)

    run(main())


def test_a_text_without_secrets() -> None:
    """The API key and what the caller names are masked; no more than so many letters are left."""
    dispatcher = make_dispatcher(Script())  # its key is "secret"
    text = dispatcher.redact("the secret of JNK-7\nis long", ["JNK-7"], 200)
    assert "secret" not in text
    assert "JNK-7" not in text
    assert text.startswith("the ")
    assert text.endswith("is long")
    assert len(dispatcher.redact("x" * 500, [], 20)) <= 20


# --- throttles, challenges and gateways -----------------------------------------------------------

PAGE: Response = (403, CIMultiDict({"Content-Type": "text/html"}), b"<html>blocked</html>")
BLOCKED: Response = (403, CIMultiDict(), b'{"title": "Error 1020", "error_code": 1020}')


@pytest.mark.parametrize("blocked", [PAGE, BLOCKED, (403, CIMultiDict(), b"error code: 1010")])
@pytest.mark.parametrize(
    "targets",
    [
        [requests.get_key(requests.segment(f"<script>{number}")) for number in range(5)],
        [requests.list_keys(f"key=%3Cscript%3E{number}", 1, 100) for number in range(5)],
        [requests.get_key("%3Cscript%3E"), requests.list_keys("key=%3Cscript%3E", 1, 100)],
        [requests.get_key("7")] * 5,
    ],
)
def test_what_one_visitor_types_pauses_nobody(
    targets: list[requests.Request[object]], blocked: Response
) -> None:
    """A firewall that objects to key values, of any number and in any call, stops no other call."""

    async def main() -> None:
        script = Script(*[blocked] * len(targets))
        dispatcher = make_dispatcher(script)
        for target in targets:
            with pytest.raises(PermissionDeniedError) as caught:
                await dispatcher.send(target)
            assert (caught.value.challenge, caught.value.attempts) == (True, 1)
        await dispatcher.send(FOLDERS)
        assert [at for at, _ in script.began] == [1000] * (len(targets) + 1)

    run(main())


@pytest.mark.parametrize("blocked", [PAGE, BLOCKED])
def test_challenges_of_different_calls_in_a_row_pause_all(blocked: Response) -> None:
    """Then it is the client that the CDN objects to. A good answer in between says it is not."""

    async def main() -> None:
        script = Script(blocked, GOOD, blocked, blocked)
        dispatcher = make_dispatcher(script)
        for request in (requests.get_key("7"), FOLDERS, requests.get_key("8"), FOLDERS, FOLDERS):
            with contextlib.suppress(PermissionDeniedError):
                await dispatcher.send(request)
        assert [at for at, _ in script.began] == [1000, 1000, 1000, 1000, 1001]

    run(main())


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b'{"error": "Rate limit exceeded", "retry_after": 7}'),
        ({"Retry-After": "7"}, b'{"error": "slow down"}'),
        ({"Retry-After": "7"}, b"error code: 1015"),
    ],
)
@pytest.mark.parametrize("status", [403, 429])
def test_a_403_that_is_a_throttle(status: int, headers: dict[str, str], body: bytes) -> None:
    """It waits as a 429 does, along with all other calls: a create is sent again, too."""

    async def main() -> None:
        created: Response = (201, {}, b'{"key": {"id": 7, "key_value": "JNK"}}')
        script = Script((status, CIMultiDict(headers), body), created)
        dispatcher = make_dispatcher(script)
        call = asyncio.create_task(dispatcher.send(CREATE))
        await asyncio.sleep(1)
        await asyncio.gather(call, dispatcher.send(FOLDERS))
        begins = [at for at, _ in script.began]
        assert begins[:2] == [1000, 1007]
        assert begins[2] >= 1007

    run(main())


def test_a_throttle_that_lasts_is_a_rate_limit() -> None:
    """A user is told to come back later, not that the app is misconfigured."""

    async def main() -> None:
        throttled: Response = (403, CIMultiDict({"Retry-After": "600"}), b"slow down")
        with pytest.raises(RateLimitError) as caught:
            await make_dispatcher(Script(throttled)).send(FOLDERS)
        assert (caught.value.status, caught.value.retry_after) == (403, 600.0)

    run(main())


@pytest.mark.parametrize("status", [500, 502, 504, 520, 522, 524])
@pytest.mark.parametrize(("priority", "wait"), [("interactive", 1.0), ("job", 60.0)])
def test_the_retry_after_of_a_gateway(status: int, priority: Priority, wait: float) -> None:
    """Somebody waits for an interactive call: it is retried as without. Walks and jobs may wait."""

    async def main() -> None:
        blip: Response = (status, CIMultiDict({"Retry-After": "60"}), b"")
        script = Script(blip)
        await make_dispatcher(script).send(FOLDERS, priority=priority)
        assert [at for at, _ in script.began] == [1000, 1000 + wait]

    run(main())


@pytest.mark.parametrize("status", [521, 523, 525, 526, 530])
def test_an_origin_that_was_not_reached(status: int) -> None:
    """The CDN says so: nothing was carried out, and a create is sent again."""

    async def main() -> None:
        created: Response = (201, {}, b'{"key": {"id": 7, "key_value": "JNK"}}')
        script = Script((status, CIMultiDict(), b""), created)
        assert (await make_dispatcher(script).send(CREATE)).id == 7
        with pytest.raises(ServerError) as caught:
            await make_dispatcher(Script(*[(status, CIMultiDict(), b"")] * 5)).send(CREATE)
        assert caught.value.outcome is Outcome.NOT_EXECUTED

    run(main())


def test_no_headers_stop_a_client_for_long() -> None:
    """Whatever good answers and refusals state, the next call is sent within the cap."""

    async def main() -> float:
        dice, script, longest = random.Random(1), Script(), 0.0
        dispatcher = make_dispatcher(script, RetryPolicy(attempts=1))
        for _ in range(1000):
            status = dice.choice([200, 200, 200, 404, 429, 403, 503])
            body = GOOD[2] if status == 200 else b'{"error": "rate limit"}'
            script.steps.append((status, CIMultiDict(random_headers(dice)), body))
            begin = now()
            with contextlib.suppress(APIError):
                await dispatcher.send(FOLDERS)
            longest = max(longest, script.began[-1][0] - begin)
        assert len(script.began) == 1000
        return longest

    assert 100 < run(main()) < 120.01  # the script rounds its times


def test_a_call_whose_time_is_over_is_not_sent() -> None:
    """Earlier requests of the same call have taken all of it: nothing is sent, or retried."""

    async def main() -> None:
        for seconds in (0.0, -1.0):
            script = Script()
            with pytest.raises(RequestTimeoutError) as caught:
                await make_dispatcher(script).send(FOLDERS, max_seconds=seconds)
            assert (caught.value.outcome, caught.value.attempts) == (Outcome.NOT_EXECUTED, 0)
            assert not caught.value.transient
            assert script.began == []
            assert now() == pytest.approx(1000)

    run(main())


@pytest.mark.parametrize(
    ("priority", "given", "left"),
    [
        ("interactive", None, 30.0),
        ("interactive", 20.0, 20.0),
        ("interactive", 40.0, 30.0),
        ("job", None, float("inf")),
        ("job", 40.0, 40.0),
    ],
)
def test_what_a_call_may_take(priority: Priority, given: float | None, left: float) -> None:
    """The shorter of the policy's deadline, which jobs don't have, and what the caller gives."""

    async def main() -> None:
        script = Script()
        dispatcher = make_dispatcher(script, RetryPolicy(deadline=30.0))
        await dispatcher.send(FOLDERS, priority=priority, max_seconds=given)
        assert script.began == [(1000, left)]

    run(main())


def test_a_call_that_waited_out_an_outage_has_all_its_attempts() -> None:
    """Those before the outage do not count any more, nor does the time: it begins anew."""

    async def main() -> None:
        lost = [ConnectError("refused")] * 4
        script = Script(*lost, delayed(9.0), (500, {}, b""), GOOD)
        policy = RetryPolicy(attempts=2, wait_initial=1.0, wait_jitter=0.0, deadline=180.0)
        dispatcher = make_dispatcher(script, policy)
        calls = [asyncio.create_task(dispatcher.send(FOLDERS, priority="job")) for _ in range(2)]
        assert await asyncio.gather(*calls) == [[], []]
        # Both fail twice. One is the probe, of nine seconds, and the other one waits for it.
        assert [at for at, _ in script.began[:5]] == [1000, 1000, 1001, 1001, 1002]
        assert script.began[5:] == [(1011, 180), (1012, 179)]

    run(main())


def test_another_api_key_is_tried_at_once_and_counts_as_no_attempt() -> None:
    """A 401 was not carried out: the policy's attempts are left, and its waits are as before."""

    async def main() -> None:
        keys = iter(["first", "second"])
        script = Script((401, {}, b""), ConnectError("refused"), GOOD)
        policy = RetryPolicy(attempts=2, wait_initial=1.0, wait_jitter=0.0)
        client = make_client(script, lambda: next(keys), retry=policy)
        assert await client.keys.folders() == []
        assert [moment for moment, _ in script.began] == [1000, 1000, 1001]
        assert script.api_keys == ["first", "second", "second"]

    run(main())


def test_another_api_key_gives_no_more_attempts() -> None:
    """Those of the policy are what is left after the 401."""

    async def main() -> None:
        keys = iter(["first", "second"])
        script = Script((401, {}, b""), *[ConnectError("refused")] * 3)
        client = make_client(script, lambda: next(keys), retry=RetryPolicy(attempts=2))
        with pytest.raises(ConnectError) as caught:
            await client.keys.folders()
        assert caught.value.attempts == 3

    run(main())


def test_a_client_is_closed_in_the_event_loop_of_its_calls() -> None:
    """Another loop can't end what runs there. Once closed it may be closed anywhere."""
    dispatcher = make_dispatcher(Script())
    with asyncio.Runner() as runner:
        runner.run(dispatcher.send(FOLDERS))
        with pytest.raises(ClientClosedError):
            run(dispatcher.close())
        assert not dispatcher.closed
        runner.run(dispatcher.close())
        run(dispatcher.close())
    assert dispatcher.closed
