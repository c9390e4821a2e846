"""The events that hooks receive, and that hooks don't affect the call."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from junkie_async import (
    AttemptEvent,
    BulkDeleteResult,
    Hooks,
    InvalidRequestError,
    JobEvent,
    JunkieClient,
    KeyBatch,
    NotFoundError,
    OutageEvent,
    Outcome,
    OutcomeUnknownError,
    PauseEvent,
    RateLimitError,
    RetryEvent,
    ServerError,
    TransportError,
)
from junkie_async._hooks import StatusCallback, check_hooks
from junkie_async._http.dispatcher import Dispatcher
from junkie_async._http.transport import Response
from junkie_async._jobs.create import CreateJob
from junkie_async._jobs.delete import DeleteJob
from junkie_async._protocol import requests

from .clock import run
from .scripted import CREATE, FOLDERS, Script, delayed, hang, make_dispatcher

URL = "http://127.0.0.1"
TOO_MANY: Response = (429, {"Retry-After": "7"}, b"{}")


class Recorder(Hooks):
    """Keeps all events."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_attempt(self, event: AttemptEvent) -> None:
        """Keep it."""
        self.events.append(event)

    def on_retry(self, event: RetryEvent) -> None:
        """Keep it."""
        self.events.append(event)

    def on_pause(self, event: PauseEvent) -> None:
        """Keep it."""
        self.events.append(event)

    def on_outage(self, event: OutageEvent) -> None:
        """Keep it."""
        self.events.append(event)

    def on_job(self, event: JobEvent) -> None:
        """Keep it."""
        self.events.append(event)


class Broken(Hooks):
    """Raises at every event."""

    def on_attempt(self, event: AttemptEvent) -> None:
        """Raise."""
        raise LookupError("a bug in a hook")

    on_retry = on_pause = on_job = on_attempt  # type: ignore[assignment]


def observed(script: Script, *more: Hooks) -> tuple[Dispatcher, list[Any]]:
    """Make a dispatcher over a script, and the list of its hook's events."""
    recorder = Recorder()
    return make_dispatcher(script, hooks=[*more, recorder]), recorder.events


def attempt(number: int = 1, seconds: float = 0.0, **ended: Any) -> AttemptEvent:
    """Describe an attempt to list the folders."""
    path = "/keys/folders"
    return AttemptEvent(
        method="GET", path=path, url=URL + path, attempt=number, seconds=seconds, **ended
    )


def test_attempts_and_retries() -> None:
    """Attempts are reported when they end, retries when they begin, in order."""

    async def main() -> None:
        lost = TransportError("lost")
        dispatcher, events = observed(Script(delayed(3, (500, {}, b"")), lost, delayed(2)))
        await dispatcher.send(FOLDERS)
        first, retry, second, again, third = events
        assert first == attempt(1, pytest.approx(3.0), status=500)  # type: ignore[arg-type]
        assert isinstance(retry.error, ServerError)
        assert (retry.method, retry.path, retry.attempt) == ("GET", "/keys/folders", 2)
        assert retry.seconds == pytest.approx(1.0)
        assert second == attempt(2, 0.0, error="TransportError")
        assert (again.error, again.attempt) == (lost, 3)
        assert again.seconds == pytest.approx(2.0)
        assert third == attempt(3, pytest.approx(2.0), status=200)  # type: ignore[arg-type]

    run(main())


def test_a_cancelled_attempt_is_reported() -> None:
    """A cancelled attempt is one without a response."""

    async def main() -> None:
        dispatcher, events = observed(Script(hang))
        task = asyncio.create_task(dispatcher.send(FOLDERS))
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert events == [attempt(1, pytest.approx(5.0), error="CancelledError")]  # type: ignore[arg-type]

    run(main())


def test_a_pause_is_reported_once() -> None:
    """Requests that were in flight at the first refusal begin no pause of their own."""

    async def main() -> None:
        dispatcher, events = observed(Script(delayed(1, TOO_MANY), delayed(1, TOO_MANY)))
        await asyncio.gather(dispatcher.send(FOLDERS), dispatcher.send(FOLDERS))
        pauses = [event for event in events if isinstance(event, PauseEvent)]
        assert pauses == [PauseEvent(seconds=7.0, from_server=True, ceiling=1)]
        retries = [event for event in events if isinstance(event, RetryEvent)]
        assert [type(event.error) for event in retries] == [RateLimitError] * 2
        assert min(event.seconds for event in retries) >= 7.0

    run(main())


def test_a_pause_without_retry_after() -> None:
    """Its duration is the policy's back-off."""

    async def main() -> None:
        dispatcher, events = observed(Script((429, {}, b"{}")))
        await dispatcher.send(FOLDERS)
        (pause,) = [event for event in events if isinstance(event, PauseEvent)]
        assert not pause.from_server
        assert pause.seconds == pytest.approx(1.0)

    run(main())


async def test_steps_of_jobs_are_reported() -> None:
    """Each call of a large job is one event, with or without a callback."""
    recorder, shown = Recorder(), list[tuple[int, int | None]]()

    async def create(count: int, mark: str | None, on_status: StatusCallback) -> KeyBatch:
        await asyncio.sleep(0.001)  # so that the consumer keeps up
        return KeyBatch(keys=tuple(f"K{count}-{n}" for n in range(count)), count=count)

    async def delete(chunk: list[int | str], on_status: StatusCallback) -> BulkDeleteResult:
        await asyncio.sleep(0.001)
        return BulkDeleteResult(deleted=len(chunk), requested=len(chunk))

    job = CreateJob(
        150,
        create,
        concurrency=1,
        on_progress=lambda done, total: shown.append((done, total)),
        hooks=[recorder],
    )
    await job
    await DeleteJob(iter(range(1, 1502)), delete, concurrency=1, hooks=[recorder])
    assert recorder.events == [
        JobEvent(job="create_many", keys=100, done=100, total=150),
        JobEvent(job="create_many", keys=50, done=150, total=150),
        JobEvent(job="delete_many", keys=1000, done=1000, total=None),
        JobEvent(job="delete_many", keys=501, done=1501, total=None),
    ]
    assert shown == [(100, 150), (150, 150)]


def test_an_exception_in_a_hook_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged with its traceback; the call and the other hooks go on."""

    async def main() -> None:
        dispatcher, events = observed(Script(TOO_MANY), Broken())
        assert await dispatcher.send(FOLDERS) == []
        kinds = [AttemptEvent, PauseEvent, RetryEvent, AttemptEvent]
        assert [type(event) for event in events] == kinds

    run(main())
    ours = [record for record in caplog.records if record.name == "junkie_async"]
    assert [record.levelno for record in ours] == [logging.ERROR] * 4
    assert "a bug in a hook" in caplog.text


def test_events_have_no_key_values() -> None:
    """Paths are templates in every text of an event."""

    async def main() -> None:
        dispatcher, events = observed(
            Script((500, {}, b"{}"), (404, {}, b'{"error":"JNK-SECRET?"}'))
        )
        with pytest.raises(NotFoundError):
            await dispatcher.send(requests.get_key("JNK-SECRET"))
        assert len(events) == 3
        assert "SECRET" not in f"{events}{[str(getattr(one, 'error', '')) for one in events]}"

    run(main())


def test_an_unknown_outcome_is_not_retried() -> None:
    """A create that was sent and lost is one attempt."""

    async def main() -> None:
        dispatcher, events = observed(Script(TransportError("lost", outcome=Outcome.UNKNOWN)))
        with pytest.raises(OutcomeUnknownError):
            await dispatcher.send(CREATE)
        assert [(event.path, event.error) for event in events] == [("/keys", "TransportError")]

    run(main())


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ("hook", "hooks"),
        ("", "hooks"),
        (5, "hooks"),
        (None, "hooks"),
        (Hooks, "hooks"),
        ([Recorder(), "hook"], "hooks[1]"),
        ([None], "hooks[0]"),
    ],
)
def test_only_hooks_are_accepted(bad: Any, field: str) -> None:
    """Hooks are an instance of Hooks, or several."""
    with pytest.raises(InvalidRequestError) as caught:
        JunkieClient("x", hooks=bad)
    assert caught.value.field == field
    assert caught.value.limit.startswith("an instance of Hooks")


def test_no_hooks() -> None:
    """Without hooks no events are built; the base class ignores all events."""
    assert check_hooks(()) == ()
    recorder = Recorder()
    assert check_hooks(recorder) == (recorder,)
    hooks = Hooks()
    for method in (hooks.on_attempt, hooks.on_retry, hooks.on_pause, hooks.on_job):
        method(None)  # type: ignore[arg-type]


async def test_a_client_passes_its_hooks_on() -> None:
    """Jobs get the client's hooks, and a refused argument is no event."""
    recorder = Recorder()
    async with JunkieClient("x", base_url="http://127.0.0.1:9", hooks=recorder) as junkie:
        with pytest.raises(InvalidRequestError):
            await junkie.keys.get("")
        job = junkie.keys.create_many(1, provider_id=1)
        assert job._hooks == (recorder,)
        job.close()
        assert recorder.events == []
