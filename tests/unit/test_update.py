"""`update_many` and `reset_hwid_many` over a transport in memory, on a virtual clock."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from typing import Any
from urllib.parse import unquote

import pytest

from junkie_async import (
    AuthenticationError,
    BatchError,
    ClientClosedError,
    Hooks,
    InvalidRequestError,
    JobEvent,
    Key,
    KeyOutcome,
    Keys,
    NotFoundError,
    Outcome,
    OutcomeStatus,
    OutcomeUnknownError,
    PermissionDeniedError,
    RetryPolicy,
    ServerError,
    TransportError,
    UpdateJob,
    UpdateReport,
    UpdateResult,
)
from junkie_async._hooks import RequestStatus, StatusCallback
from junkie_async._http.send_state import SendState
from junkie_async._http.transport import Response
from junkie_async._protocol.requests import Request

from .clock import run
from .scripted import Script, make_dispatcher, now

DONE, NOT_FOUND, FAILED, UNKNOWN = OutcomeStatus
OK: Response = (200, {}, b'{"success": true, "message": "done"}')
NO_KEY: Response = (404, {}, b'{"error": "Key not found"}')
BAD: Response = (400, {}, b'{"error": "hwid_limit is too low"}')
FORBIDDEN: Response = (403, {}, b'{"error": "not your key"}')
DOWN: Response = (503, {}, b"{}")
QUICK = RetryPolicy(attempts=2, wait_initial=1.0, wait_jitter=0.0, outage=0.0)
PATIENT = RetryPolicy(attempts=2, wait_initial=1.0, wait_jitter=0.0, outage=60.0)

Answer = Callable[[str], Response | Exception]


class Service(Script):
    """Answers each call by its key's ID or value, after a second.

    Args:
        answer: Returns the response or the error for a key.
    """

    def __init__(self, answer: Answer = lambda key: OK) -> None:
        super().__init__()
        self.answer = answer
        self.calls: list[tuple[str, str]] = []
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        self.in_flight = self.most_in_flight = 0

    async def attempt(self, request: Request[object], state: SendState, left: float) -> Response:
        """Answer a request."""
        parts = request.target.split("/")
        key = unquote(parts[2]) if len(parts) > 2 else request.target  # of a list, "/keys?page=1…"
        self.calls.append((request.method, key))
        if request.method == "PUT":
            self.bodies.append((key, json.loads(request.body or b"")))
        state.sent = True
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(1)
        finally:
            self.in_flight -= 1
        result = self.answer(key)
        if isinstance(result, Exception):
            raise result
        return result

    def keys(self, retry: RetryPolicy = QUICK, *hooks: Hooks) -> Keys:
        """Make the operations of a client of this service."""
        return Keys(make_dispatcher(self, retry, max_in_flight=1000, hooks=hooks))


def answer_by(special: Mapping[str, Response | Exception]) -> Answer:
    """Answer some keys in their own way, and all others with a success."""
    return lambda key: special.get(key, OK)


async def fail(job: UpdateJob) -> BatchError:
    """Run a job that is to end early."""
    with pytest.raises(BatchError) as caught:
        await job
    return caught.value


# --- outcomes -------------------------------------------------------------------------------------


def test_one_bad_key_does_not_end_the_job() -> None:
    """Each key has its outcome: refused, missing and broken ones stand beside the done ones."""

    async def main() -> None:
        special = {
            "3": NO_KEY,
            "4": BAD,
            "5": FORBIDDEN,
            "6": DOWN,
            "7": (409, {}, b"{}"),
            "8": (200, {}, b"<html>"),
            "9": (200, {}, b'{"success": false, "error": "no"}'),
        }
        keys = Service(answer_by(special)).keys()
        outcomes = {one.key: one async for one in keys.update_many(range(1, 100), is_premium=True)}
        statuses = Counter(outcome.status for outcome in outcomes.values())
        assert statuses == {DONE: 92, NOT_FOUND: 1, FAILED: 6}
        assert isinstance(outcomes[3].error, NotFoundError)
        assert isinstance(outcomes[5].error, PermissionDeniedError)
        assert isinstance(outcomes[6].error, ServerError)
        assert outcomes[1].error is None
        assert isinstance(outcomes[1].result, UpdateResult)
        assert outcomes[4].result is None

    run(main())


def test_the_report_has_the_outcomes_that_are_not_done() -> None:
    """It counts all, and keeps those that need a look."""

    async def main() -> None:
        keys = Service(answer_by({"2": NO_KEY, "5": BAD})).keys()
        report = await keys.update_many([*range(1, 11)], folder_id=None, concurrency=1)
        assert (report.requested, report.done, report.not_found) == (10, 8, 1)
        assert (report.failed, report.unknown) == (1, 0)
        assert [(one.key, one.status) for one in report.outcomes] == [(2, NOT_FOUND), (5, FAILED)]

    run(main())


def test_outcomes_come_in_order_of_completion() -> None:
    """A slow key holds no other one back."""

    async def main() -> None:
        async def send(
            key: int | str, fields: Mapping[str, Any], on_status: StatusCallback
        ) -> UpdateResult:
            await asyncio.sleep(10.0 if key == 1 else 1.0)
            return UpdateResult()

        job = UpdateJob(range(1, 6), send, fields={}, concurrency=2)
        assert [outcome.key async for outcome in job] == [2, 3, 4, 5, 1]

    run(main())


def test_an_update_sends_its_fields_and_a_reset_its_path() -> None:
    """Values and IDs are named in the path; a Key is its ID."""

    async def main() -> None:
        service = Service()
        given: list[int | str | Key] = [5, "JNK-1", Key(id=7, key_value="JNK-7")]
        await service.keys().update_many(given, folder_id=None, hwids=iter(["PC"]))
        assert sorted(service.bodies, key=str) == [
            (key, {"folder_id": None, "hwids": ["PC"]}) for key in ("5", "7", "JNK-1")
        ]
        await service.keys().reset_hwid_many(given)
        assert Counter(method for method, _ in service.calls) == {"PUT": 3, "POST": 3}

    run(main())


def test_a_reset_whose_response_is_lost_is_unknown() -> None:
    """It is sent once; an update is sent again."""

    async def main() -> None:
        lost = TransportError("the connection was lost")
        service = Service(answer_by({"2": lost}))
        report = await service.keys().reset_hwid_many([1, 2, 3])
        assert (report.done, report.unknown, report.failed) == (2, 1, 0)
        [outcome] = report.outcomes
        assert (outcome.key, outcome.status) == (2, UNKNOWN)
        assert isinstance(outcome.error, OutcomeUnknownError)
        assert service.calls.count(("POST", "2")) == 1
        report = await service.keys().update_many([1, 2, 3], is_premium=True)
        assert (report.done, report.unknown, report.failed) == (2, 0, 1)
        assert service.calls.count(("PUT", "2")) == 2

    run(main())


def test_a_value_that_reads_as_a_number_is_looked_up() -> None:
    """The call is made for the ID that the search finds, and a missing one is an outcome."""

    async def main() -> None:
        page = {"keys": [{"id": 42, "key_value": "7"}], "pagination": {"total": 1}}
        found: Response = 200, {}, json.dumps(page).encode()
        service = Service(lambda key: found if key.startswith("/keys?") else OK)
        outcomes = [one async for one in service.keys().update_many(["7", "8"], is_premium=True)]
        assert {one.key: one.status for one in outcomes} == {"7": DONE, "8": NOT_FOUND}
        assert [key for key, _ in service.bodies] == ["42"]
        missing = next(one.error for one in outcomes if one.error)
        assert str(missing) == (
            "PUT /keys/{keyId}: no key has this value (pass an ID as an int) [404]"
        )

    run(main())


def test_key_values_are_masked() -> None:
    """Neither an outcome nor a report shows a key value."""

    async def main() -> None:
        value = "JNK-AAAA-BBBB-CCCC"
        report = await Service(lambda key: NO_KEY).keys().update_many([value], is_premium=True)
        [outcome] = report.outcomes
        assert outcome.key == value
        assert "JNK-…CCCC" in repr(outcome)
        assert value not in repr(outcome) + repr(report) + str(outcome.error)

    run(main())


def test_errors_of_outcomes_hold_no_frames() -> None:
    """Thousands of them are kept, and nobody raises them."""

    async def main() -> None:
        answer = answer_by({"1": BAD, "2": TransportError("lost")})
        report = await Service(answer).keys().reset_hwid_many(range(1, 9))
        errors = [outcome.error for outcome in report.outcomes]
        assert [type(error).__name__ for error in errors] == [
            "BadRequestError",
            "OutcomeUnknownError",
        ]
        for error in errors:
            assert error is not None
            assert error.__traceback__ is None
            assert error.__cause__ is None or error.__cause__.__traceback__ is None

    run(main())


# --- what is given --------------------------------------------------------------------------------


def test_pairs_have_fields_of_their_own() -> None:
    """Lists count as pairs, and so do the items of a dict."""

    async def main() -> None:
        service = Service()
        report = await service.keys().update_many([(1, {"key_name": "a"}), (2, {"hwids": []})])
        assert report.done == 2
        await service.keys().update_many({3: {"key_name": "c"}}.items())  # type: ignore[arg-type]
        assert service.bodies == [
            ("1", {"key_name": "a"}),
            ("2", {"hwids": []}),
            ("3", {"key_name": "c"}),
        ]

    run(main())


def test_the_devices_of_a_pair_may_be_an_iterator() -> None:
    """It is read once: a second check would find no devices, and unbind those that are bound."""

    async def main() -> None:
        service = Service()
        await service.keys().update_many([(1, {"hwids": iter(["PC"])})])
        assert service.bodies == [("1", {"hwids": ["PC"]})]

    run(main())


def test_pairs_with_the_same_key_are_sent_in_their_order() -> None:
    """The last one holds, however many calls are in flight."""

    async def main() -> None:
        service = Service()
        pairs = [(at % 3 + 1, {"key_name": str(at)}) for at in range(30)]
        job = service.keys().update_many(iter(pairs), concurrency=16)  # type: ignore[arg-type]
        report = await job
        assert report.done == report.requested == 30
        assert service.most_in_flight == 3
        for key in ("1", "2", "3"):
            names = [int(body["key_name"]) for sent, body in service.bodies if sent == key]
            assert names == sorted(names)
            assert len(names) == 10

    run(main())


@pytest.mark.parametrize("kind", ["list", "iterator", "async"])
def test_a_repeated_key_is_sent_once(kind: str) -> None:
    """5, "5x" and a Key of ID 5 are two keys, as for `delete_many`."""

    async def main() -> None:
        given: list[int | str | Key] = [5, "5x", 5, Key(id=5, key_value="K"), "5x", 6]

        async def stream() -> AsyncIterator[int | str | Key]:
            for key in given:
                yield key

        kinds: dict[str, Any] = {"list": given, "iterator": iter(given), "async": stream()}
        service, shown = Service(), list[tuple[int, int | None]]()
        report = await service.keys().update_many(
            kinds[kind],
            is_premium=True,
            on_progress=lambda *now: shown.append(now),
        )
        assert sorted(key for _, key in service.calls) == ["5", "5x", "6"]
        assert (report.requested, report.done) == (3, 3)
        assert shown[-1] == (3, 3 if kind == "list" else None)

    run(main())


def test_the_keys_of_a_pager_are_collected_first() -> None:
    """An update moves keys out of the filter, and so must not run beside the walk."""

    async def main() -> None:
        def answer(key: str) -> Response:
            if not key.startswith("/keys?"):
                return OK
            page = int(key.partition("page=")[2].partition("&")[0])
            rows = [{"id": at, "key_value": f"K{at}"} for at in range(page * 2 - 1, page * 2 + 1)]
            stated = {"page": page, "limit": 2, "total": 20, "total_pages": 10}
            rows = rows if page <= 10 else []
            return 200, {}, json.dumps({"keys": rows, "pagination": stated}).encode()

        service = Service(answer)
        report = await service.keys().update_many(
            service.keys().list(limit=2, prefetch=1), is_invalidated=True
        )
        assert (report.requested, report.done) == (20, 20)
        methods = [method for method, _ in service.calls]
        assert methods == sorted(methods)  # each GET before the first PUT

    run(main())


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ([1, True], "keys[1]"),
        ([1, 2, ".."], "keys[2]"),
        ([(1, {"is_premium": True})], "keys[0]"),
        ("JNK-1", "keys"),
        ({1: {}}, "keys"),
        (None, "keys"),
    ],
)
def test_a_collection_of_keys_is_checked_before_anything_is_sent(keys: Any, field: str) -> None:
    """The error names the key, and the job is not made."""
    for make in (Service().keys().reset_hwid_many, Service().keys().update_many):
        fields: dict[str, Any] = {"is_premium": True} if "update" in make.__name__ else {}
        with pytest.raises(InvalidRequestError) as caught:
            make(keys, **fields)
        assert caught.value.field == field


@pytest.mark.parametrize(
    ("pair", "field"),
    [
        (5, "keys[1]"),
        ("ab", "keys[1]"),
        ((5,), "keys[1]"),
        ((5, None), "keys[1]"),
        ((5, {}), "keys[1]"),
        ((5, {"label": "a"}), "keys[1]"),
        ((5, {7: "a"}), "keys[1]"),
        ((5, {"hwid_limit": 101}), "keys[1].hwid_limit"),
        ((5, {"hwids": ["PC", 5]}), "keys[1].hwids[1]"),
        ((0, {"is_premium": True}), "keys[1]"),
    ],
)
def test_each_pair_is_checked(pair: Any, field: str) -> None:
    """A collection before anything is sent, an iterator as it is read."""

    async def main() -> None:
        pairs = [(1, {"key_name": "a"}), pair]
        with pytest.raises(InvalidRequestError) as caught:
            Service().keys().update_many(pairs)
        assert caught.value.field == field
        assert caught.value.__context__ is None
        service = Service()
        error = await fail(service.keys().update_many(iter(pairs)))
        assert isinstance(error.__cause__, InvalidRequestError)
        assert error.__cause__.field == field
        assert service.bodies == [("1", {"key_name": "a"})]
        assert (error.report.requested, error.report.done) == (1, 1)

    run(main())


def test_shared_fields_are_checked_at_the_call() -> None:
    """So are their names; a pager without fields is refused before its walk."""
    keys = Service().keys()
    with pytest.raises(InvalidRequestError):
        keys.update_many([1], hwid_limit=101)
    with pytest.raises(TypeError):
        keys.update_many([1], label="a")  # type: ignore[call-arg]
    with pytest.raises(InvalidRequestError):
        keys.update_many(keys.list())


# --- when the job ends early ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "cause", "most_calls"),
    [
        ((401, {}, b"{}"), AuthenticationError, 8),
        (FORBIDDEN, PermissionDeniedError, 16),
        (DOWN, ServerError, 16),
        (TransportError("lost"), TransportError, 16),
        (ClientClosedError("the client is closed"), ClientClosedError, 8),
    ],
    ids=["api key", "permission", "outage", "connection", "closed"],
)
@pytest.mark.parametrize("amount", [1, 5, 10_000])
def test_what_every_key_would_meet_ends_the_job(
    answer: Response | Exception, cause: type[Exception], most_calls: int, amount: int
) -> None:
    """The report says that no key was changed."""

    async def main() -> None:
        service = Service(lambda key: answer)
        error = await fail(service.keys().update_many(iter(range(1, amount + 1)), is_premium=True))
        assert type(error.__cause__) is cause
        assert len({key for _, key in service.calls}) <= most_calls
        report = error.report
        assert isinstance(report, UpdateReport)
        assert report.failed == report.requested <= amount
        assert report.outcomes
        assert error.did_nothing == (error.__cause__.outcome is Outcome.NOT_EXECUTED)  # type: ignore[attr-defined]

    run(main())


def test_a_lost_change_may_have_been_made() -> None:
    """The report counts it as failed, since it may simply be made again."""

    async def main() -> None:
        answers = {1: TransportError("lost"), 2: AuthenticationError("no", status=401)}
        service = Service(lambda key: answers[int(key)])
        error = await fail(service.keys().update_many([1, 2], concurrency=1, is_premium=True))
        assert isinstance(error.__cause__, AuthenticationError)
        assert error.report.failed == 2
        assert not error.did_nothing

    run(main())


def test_keys_that_are_missing_are_not_changed() -> None:
    """A job whose other calls were refused did nothing."""

    async def main() -> None:
        refused = AuthenticationError("no", status=401)
        service = Service(answer_by({"1": NO_KEY, "2": refused}))
        error = await fail(service.keys().update_many([1, 2], concurrency=1, is_premium=True))
        assert (error.report.not_found, error.report.failed) == (1, 1)
        assert error.did_nothing

    run(main())


def test_a_look_up_that_fails_changes_nothing() -> None:
    """Its request was sent, and only reads."""

    async def main() -> None:
        service = Service(lambda key: DOWN)
        error = await fail(service.keys().update_many(["7"], is_premium=True))
        assert isinstance(error.__cause__, ServerError)
        assert {method for method, _ in service.calls} == {"GET"}
        assert error.did_nothing

    run(main())


def test_keys_that_are_forbidden_do_not_end_the_job() -> None:
    """Where one key was changed, the API key does not lack the permission for all."""

    async def main() -> None:
        service = Service(lambda key: OK if int(key) <= 8 else FORBIDDEN)
        report = await service.keys().update_many(range(1, 101), is_premium=True)
        assert (report.done, report.failed) == (8, 92)

    run(main())


def test_an_outage_is_waited_out() -> None:
    """Nothing fails if the service comes back in time."""

    async def main() -> None:
        began = now()
        service = Service(lambda key: DOWN if now() - began < 50 else OK)
        report = await service.keys(PATIENT).update_many(range(1, 101), is_premium=True)
        assert report.done == 100

    run(main())


@pytest.mark.parametrize("concurrency", [2, 8])
def test_an_outage_that_is_too_long_ends_the_job_once(concurrency: int) -> None:
    """The calls that were in flight end it: it does not wait as long again for the next ones."""

    async def main() -> None:
        began = now()
        service = Service(lambda key: OK if now() - began < 10 else DOWN)
        job = service.keys(PATIENT).update_many(
            range(1, 1001), is_premium=True, concurrency=concurrency
        )
        error = await fail(job)
        assert isinstance(error.__cause__, ServerError)
        assert 60 < now() - began < 85
        assert error.report.done >= 8 * concurrency
        assert error.report.failed == error.report.requested - error.report.done

    run(main())


def test_a_key_that_always_fails_does_not_end_the_job_of_one_worker() -> None:
    """Only the next key can tell whether the service fails."""

    async def main() -> None:
        service = Service(answer_by({"2": DOWN}))
        report = await service.keys().update_many(range(1, 6), is_premium=True, concurrency=1)
        assert (report.done, report.failed) == (4, 1)

    run(main())


@pytest.mark.parametrize(("lost", "ends"), [(15, False), (16, True)])
def test_a_restart_of_the_service_does_not_end_resets(lost: int, ends: bool) -> None:
    """It loses the responses of all calls in flight; twice as many in a row are an outage."""

    async def main() -> None:
        service = Service(lambda key: TransportError("lost") if int(key) <= lost else OK)
        job = service.keys().reset_hwid_many(range(1, 101))
        if ends:
            error = await fail(job)
            assert isinstance(error.__cause__, OutcomeUnknownError)
            assert error.report.unknown >= 16
            assert not error.did_nothing
        else:
            report = await job
            assert (report.unknown, report.done) == (15, 85)

    run(main())


def test_a_loop_gets_the_failures_before_the_error() -> None:
    """A command line prints each key that was tried."""

    async def main() -> None:
        outcomes: list[KeyOutcome] = []
        job = Service(lambda key: (401, {}, b"{}")).keys().reset_hwid_many(range(1, 101))
        with pytest.raises(BatchError):
            async for outcome in job:
                outcomes.append(outcome)
        assert [outcome.status for outcome in outcomes] == [FAILED] * 8
        assert job.report.outcomes == tuple(outcomes)

    run(main())


def test_an_iterable_that_raises_ends_the_job() -> None:
    """What it gave before is done."""

    async def main() -> None:
        def give() -> Iterator[int]:
            yield from range(1, 11)
            raise LookupError

        error = await fail(Service().keys().update_many(give(), is_premium=True))
        assert isinstance(error.__cause__, LookupError)
        assert (error.report.requested, error.report.done) == (10, 10)

    run(main())


def test_a_report_has_a_thousand_keys_that_were_not_done() -> None:
    """And counts the others."""

    async def main() -> None:
        service = Service(lambda _: NO_KEY)
        report = await service.keys().reset_hwid_many(range(1, 1101), concurrency=100)
        assert (report.not_found, report.done) == (1100, 0)
        assert len({outcome.key for outcome in report.outcomes}) == len(report.outcomes) == 1000

    run(main())


# --- stopping -------------------------------------------------------------------------------------


def test_cancelling_lets_calls_in_flight_finish() -> None:
    """They are counted, and no other one starts."""

    async def main() -> None:
        service = Service()
        job = service.keys().reset_hwid_many(range(1, 1001), concurrency=4)
        task = asyncio.create_task(job)
        await asyncio.sleep(2.5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(service.calls) == job.report.done == 12
        assert service.in_flight == 0

    run(main())


def test_a_call_that_outlasts_a_cancellation_is_unknown() -> None:
    """After 10 s nobody waits for it, and it may be carried out."""

    async def main() -> None:
        async def send(
            key: int | str, fields: Mapping[str, Any], on_status: StatusCallback
        ) -> UpdateResult:
            if key != 2:  # that one waits for its slot
                on_status(RequestStatus.IN_FLIGHT)
            if key == 3:  # a 429: it waits for its retry
                on_status(RequestStatus.NOT_EXECUTED)
            await asyncio.sleep(100)
            return UpdateResult()

        job = UpdateJob([1, 2, 3], send, fields={}, concurrency=3)
        task = asyncio.create_task(job)
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        report = job.report
        assert (report.requested, report.unknown, report.failed) == (3, 1, 2)
        assert [(one.key, one.status, one.error) for one in report.outcomes] == [(1, UNKNOWN, None)]

    run(main())


def test_a_call_that_waits_out_an_outage_when_the_job_is_cancelled_is_unknown() -> None:
    """Its first request may have been carried out. What was never sent has failed."""

    async def main() -> None:
        lost = TransportError("lost")
        service = Service(lambda _: lost)
        job = service.keys(RetryPolicy(outage=300)).update_many(range(1, 5), key_name="a")
        task = asyncio.create_task(job)
        await asyncio.sleep(200)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (job.report.requested, job.report.unknown, job.report.failed) == (4, 4, 0)

    run(main())


def test_leaving_the_loop_stops_the_job() -> None:
    """A job whose loop is left sends no more than what is in flight, and reads no further."""

    async def main() -> None:
        read = 0

        def give() -> Iterator[int]:
            nonlocal read
            while True:
                read += 1
                yield read

        service = Service()
        job = service.keys().update_many(give(), is_premium=True)
        async with aclosing(aiter(job)) as outcomes:
            async for outcome in outcomes:
                assert outcome.status is DONE
                break
        assert read <= 17
        assert job.report.done == len(service.calls) <= 16
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_a_slow_consumer_holds_the_job_back() -> None:
    """At most as many results are unread as calls may be in flight."""

    async def main() -> None:
        service = Service()
        job = service.keys().update_many(range(1, 101), is_premium=True, concurrency=4)
        consumed = 0
        async for _ in job:
            consumed += 1
            await asyncio.sleep(10)
            assert len(service.calls) <= consumed + 4
        assert consumed == 100
        assert service.most_in_flight == 4

    run(main())


def test_hooks_and_progress_see_each_key() -> None:
    """A key that fails counts as well: it has its outcome."""

    async def main() -> None:
        events: list[JobEvent] = []

        class Observer(Hooks):
            def on_job(self, event: JobEvent) -> None:
                events.append(event)

        service = Service(answer_by({"2": NO_KEY}))
        await service.keys(QUICK, Observer()).reset_hwid_many([1, 2, 3], concurrency=1)
        assert [(one.job, one.keys, one.done, one.total) for one in events] == [
            ("reset_hwid_many", 1, done, 3) for done in (1, 2, 3)
        ]

    run(main())


# --- memory ---------------------------------------------------------------------------------------

MANY = 40_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("has_pairs", "most"), [(True, 0.8e6), (False, 3.0e6)], ids=["pairs", "shared fields"]
)
async def test_memory_is_flat(has_pairs: bool, most: float) -> None:
    """40,000 keys, of which a tenth is missing; a set of the keys would take 4.6 MB."""

    async def send(
        key: int | str, fields: Mapping[str, Any], on_status: StatusCallback
    ) -> UpdateResult:
        if isinstance(key, int) and key % 10 == 0:
            raise NotFoundError("no such key", status=404)
        return UpdateResult()

    def give() -> Iterator[Any]:
        for at in range(1, MANY + 1):
            yield (at, {"key_name": "a"}) if has_pairs else at

    fields = None if has_pairs else {"key_name": "a"}
    job = UpdateJob(give(), send, fields=fields, concurrency=8)
    tracemalloc.start()
    try:
        report = await job
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    assert (report.requested, report.done, report.not_found) == (MANY, MANY * 9 // 10, MANY // 10)
    assert len(report.outcomes) == 1000
