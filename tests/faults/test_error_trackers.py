"""Error trackers show the local variables of an error's frames: none of them finds a secret there.

The trackers are the real ones: sentry-sdk in its default settings, the standard library's
`TracebackException`, rich, structlog and pytest's ``--showlocals``. The canaries and the service
that repeats them are those of `test_secrets`, which looks for them in everything else.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import subprocess
import sys
import traceback
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import rich.traceback
import sentry_sdk
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult
from sentry_sdk.envelope import Envelope

from junkie_async import (
    AttemptEvent,
    ConfigurationError,
    CreateJob,
    Hooks,
    JunkieClient,
    JunkieError,
    Key,
    KeyBatch,
    Keys,
    RetryEvent,
    RetryPolicy,
    provisioning,
)
from junkie_async._jobs import sqlite_record
from junkie_async.export import export_keys, export_values, json_line

from ._echo import HANG, Request, Service, http
from .operations import on_virtual_clock
from .test_secrets import (
    API_KEY,
    BULK,
    CALLS,
    CREATED,
    FILTER,
    HWID,
    KEY,
    MISBEHAVIOUR,
    PATH,
    connect,
    found,
    good,
)

# --- what the trackers show -----------------------------------------------------------------------


class Captured(sentry_sdk.transport.Transport):
    """Keeps what sentry-sdk would send."""

    def __init__(self) -> None:
        super().__init__()
        self.envelopes: list[bytes] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        """Keep an envelope, as written."""
        self.envelopes.append(envelope.serialize())


def by_sentry(error: BaseException) -> str:
    """Capture an error with sentry-sdk, whose integrations would change the whole process."""
    sent = Captured()
    client = sentry_sdk.Client(
        "https://key@sentry.invalid/1", transport=sent, default_integrations=False
    )
    with sentry_sdk.new_scope() as scope:
        scope.set_client(client)
        sentry_sdk.capture_exception(error)
    assert b'"stacktrace"' in sent.envelopes[0]
    return sent.envelopes[0].decode()


def by_traceback(error: BaseException) -> str:
    """Format an error as the standard library does."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(shown.format())


def by_rich(error: BaseException) -> str:
    """Extract what rich renders, with the local variables as it writes them."""
    trace = rich.traceback.Traceback.extract(
        type(error), error, error.__traceback__, show_locals=True, locals_max_string=10_000
    )
    return repr(trace)


def by_structlog(error: BaseException) -> str:
    """Transform an error with structlog."""
    transform = structlog.tracebacks.ExceptionDictTransformer(
        show_locals=True, locals_max_string=10_000, max_frames=1000
    )
    return json.dumps(transform((type(error), error, error.__traceback__)))


ROOT = Path(__file__).parents[2]
TRACKERS = [by_sentry, by_traceback, by_rich, by_structlog]


def leaks(errors: list[BaseException]) -> list[str]:
    """Name the secrets that a tracker shows of errors."""
    return sorted(
        {
            f"{type(error).__name__}, {tracker.__name__}: {secret}"
            for error in errors
            for tracker in TRACKERS
            for secret in found(tracker(error))
        }
    )


async def errors_of(*calls: Awaitable[object]) -> list[BaseException]:
    """Await calls concurrently, and return the errors of those that fail."""

    async def catch(call: Awaitable[object]) -> list[BaseException]:
        try:
            await call
        except BaseException as error:
            return [error]
        return []

    caught = await asyncio.gather(*map(catch, calls))
    return [error for errors in caught for error in errors]


# --- calls that a caller ends ---------------------------------------------------------------------

Call = Callable[[JunkieClient], Awaitable[object]]


async def _verify(client: JunkieClient) -> object:
    return await client.keys.verify(PATH, hwid=HWID)


async def _verify_twice(client: JunkieClient) -> object:
    calls = (client.keys.verify(PATH, hwid=HWID, stale_if_error=60) for _ in range(2))
    first, second = await asyncio.gather(*calls, return_exceptions=True)
    for ended in (second, first):
        if isinstance(ended, BaseException):
            raise ended
    return first


async def _export(client: JunkieClient) -> object:
    return await export_keys(client.keys.list(key=FILTER), StringIO(), format="csv")


async def _export_values(client: JunkieClient) -> object:
    return await export_values(client.keys.create_many(9, provider_id=1, hwid=HWID), StringIO())


ALL_CALLS = CALLS | {
    "verify": _verify,
    "verify twice": _verify_twice,
    "export": _export,
    "export values": _export_values,
}


async def by_timeout(call: Awaitable[object]) -> object:
    """Let `asyncio.timeout` expire."""
    async with asyncio.timeout(1):
        return await call


async def by_wait_for(call: Awaitable[object]) -> object:
    """Let `asyncio.wait_for` expire."""
    return await asyncio.wait_for(call, 1)


async def by_late_wait_for(call: Awaitable[object]) -> object:
    """Come with a time-out that has expired already."""
    return await asyncio.wait_for(call, 0)


async def by_cancel(call: Awaitable[object]) -> object:
    """Cancel the call's task while its request is in flight."""
    task = asyncio.ensure_future(call)
    await asyncio.sleep(1)
    task.cancel()
    return await task


async def by_early_cancel(call: Awaitable[object]) -> object:
    """Cancel the call's task before it runs."""
    task = asyncio.ensure_future(call)
    task.cancel()
    return await task


ENDS = [by_timeout, by_wait_for, by_late_wait_for, by_cancel, by_early_cancel]


# A list that is passed to a call which never starts warns, as a coroutine would.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@on_virtual_clock
async def test_a_call_that_its_caller_ends(
    end: Callable[[Awaitable[object]], Awaitable[object]],
) -> None:
    """The error of a cancelled call has no secret: aiohttp's frames have the request's headers."""
    async with Service(lambda _: HANG) as service, connect(service.url, 100.0) as client:
        errors = await errors_of(*(end(call(client)) for call in ALL_CALLS.values()))
    assert len(errors) == len(ALL_CALLS)
    assert not any(isinstance(error, JunkieError) for error in errors)
    assert leaks(errors) == []


@on_virtual_clock
async def test_show_locals() -> None:
    """``pytest --showlocals`` shows no secret."""
    async with Service(lambda _: HANG) as service, connect(service.url, 100.0) as client:
        [error] = await errors_of(by_timeout(client.keys.update(PATH, hwids=[HWID])))
    shown = pytest.ExceptionInfo.from_exception(error).getrepr(showlocals=True)
    assert not found(str(shown))


# --- calls that the service fails -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["error 404", "error 500", "broken JSON", "strings", "page 200"])
@on_virtual_clock
async def test_a_call_that_the_service_fails(name: str) -> None:
    """The error of a call has no secret: the frames of reading have the response's body."""
    async with Service(MISBEHAVIOUR[name]) as service, connect(service.url) as client:
        errors = await errors_of(*(call(client) for call in ALL_CALLS.values()))
    assert len(errors) > 20
    assert leaks(errors) == []


# --- a session that raises ------------------------------------------------------------------------


class _BrokenResolver(AbstractResolver):
    async def resolve(self, *_: object, **__: object) -> list[ResolveResult]:
        raise LookupError

    async def close(self) -> None:
        """Close nothing."""


async def _raise(*_: object) -> None:
    raise LookupError


def _make_session(place: str) -> aiohttp.ClientSession:
    if place == "resolver":
        connector = aiohttp.TCPConnector(resolver=_BrokenResolver())
        return aiohttp.ClientSession(connector=connector)
    if place == "middleware":
        return aiohttp.ClientSession(middlewares=[_raise])  # type: ignore[list-item]
    config = aiohttp.TraceConfig()
    getattr(config, place).append(_raise)
    return aiohttp.ClientSession(trace_configs=[config])


@pytest.mark.parametrize(
    "place",
    [
        "resolver",
        "middleware",
        "on_request_start",
        "on_connection_create_start",
        "on_request_headers_sent",
        "on_request_chunk_sent",
        "on_request_end",
    ],
)
@on_virtual_clock
async def test_a_session_that_raises(place: str) -> None:
    """The error of a given session's own code leaves without the request that it was called for."""
    async with Service(good) as service, _make_session(place) as session:
        url = service.url.replace("127.0.0.1", "localhost")
        client = JunkieClient(API_KEY, base_url=url, session=session)
        errors = await errors_of(
            client.keys.update(PATH, hwids=[HWID]),
            client.keys.create(provider_id=1, hwid=HWID),
            client.keys.list(key=FILTER),
        )
    assert errors
    assert leaks(errors) == []


@on_virtual_clock
async def test_a_hook_that_raises(caplog: pytest.LogCaptureFixture) -> None:
    """The log of a hook's bug does not show the request in flight, whose error is its context."""

    class Broken(Hooks):
        def on_attempt(self, event: AttemptEvent) -> None:
            raise LookupError

    async with Service(lambda _: HANG) as service:
        client = JunkieClient(API_KEY, base_url=service.url, hooks=Broken())
        await errors_of(by_cancel(client.keys.update(PATH, hwids=[HWID])))
        await client.close()
    [record] = caplog.records
    assert record.exc_info
    assert isinstance(record.exc_info[1], LookupError)
    assert isinstance(record.exc_info[1].__context__, asyncio.CancelledError)
    assert leaks([record.exc_info[1]]) == []


@pytest.mark.parametrize("name", ["error 500", "broken JSON", "page 200"])
@on_virtual_clock
async def test_a_hook_that_reports_errors(name: str) -> None:
    """The error of an attempt has no secret when a hook gets it, before the call has ended."""
    found: list[str] = []

    class Reports(Hooks):
        def on_retry(self, event: RetryEvent) -> None:
            found.append(type(event.error).__name__)
            found.extend(leaks([event.error]))

    retry = RetryPolicy(attempts=3, outage=0.0)
    async with Service(MISBEHAVIOUR[name]) as service:
        client = JunkieClient(API_KEY, base_url=service.url, hooks=Reports(), retry=retry)
        await errors_of(client.keys.get(PATH), client.keys.update(PATH, hwids=[HWID]))
        await client.close()
    expected = "ServerError" if name == "error 500" else "InvalidResponseError"
    assert set(found) == {expected}


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda: JunkieClient(f"{API_KEY}\n"),
        lambda: JunkieClient(f"{API_KEY} {API_KEY}"),
        lambda: JunkieClient(API_KEY, base_url=f"https://{API_KEY}@example.com"),
        lambda: JunkieClient(API_KEY, base_url=f"https://example.com/?{API_KEY}"),
        lambda: JunkieClient(API_KEY, base_url=f"{API_KEY}://example.com"),
        lambda: JunkieClient(API_KEY, timeout=0),
        lambda: JunkieClient(API_KEY, max_in_flight=0),
        lambda: JunkieClient(API_KEY, hooks=3),  # type: ignore[arg-type]
        lambda: JunkieClient(API_KEY, session=3),  # type: ignore[arg-type]
        lambda: _Subclass(API_KEY),
        lambda: json_line({"key_value": f"{CREATED}\ud800"}),
    ],
)
async def test_a_refused_argument(make: Callable[[], object]) -> None:
    """The error of a constructor or another function has no secret."""

    async def call() -> object:
        return make()

    errors = await errors_of(call())
    assert errors
    assert leaks(errors) == []


class _Subclass(JunkieClient):
    def __init__(self, api_key: str) -> None:
        try:
            super().__init__(api_key, timeout=0)
        finally:
            del api_key


def test_an_api_key_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error for an API key that was read from the environment does not have it."""
    monkeypatch.setenv("JUNKIE_API_KEY", f"{API_KEY}\n")
    with pytest.raises(ConfigurationError) as caught:
        JunkieClient()
    assert leaks([caught.value]) == []


def test_repr_of_a_client_whose_arguments_were_refused() -> None:
    """It has a repr: Python 3.11's tracebacks show that of ``self`` in a subclass's frame."""
    assert repr(JunkieClient.__new__(JunkieClient)) == "<JunkieClient, not initialized>"


# --- jobs, walks and exports ----------------------------------------------------------------------


def _raise_after(*values: Any) -> Iterator[Any]:
    secret = BULK
    yield from values
    raise LookupError(len(secret))


async def _raise_later() -> AsyncIterator[Any]:
    key = Key(id=1, key_value=CREATED)
    for secret in (key, BULK):
        yield secret
    raise LookupError


def _refuse(*_: object) -> None:
    raise LookupError


class _FullDisk(StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


async def _read(job: AsyncIterable[object]) -> None:
    async for _ in job:
        pass


def _keys(client: JunkieClient) -> Any:
    return client.keys


JOBS: dict[str, Callable[[Keys], Awaitable[object]]] = {
    "an iterable": lambda keys: keys.delete_many(_raise_after(BULK, PATH)),
    "an async iterable": lambda keys: keys.delete_many(_raise_later()),
    "a reader": lambda keys: _read(keys.delete_many(_raise_after(BULK))),
    "progress": lambda keys: keys.delete_many([BULK], on_progress=_refuse),
    "progress of a create": lambda keys: keys.create_many(
        9, provider_id=1, hwid=HWID, on_progress=_refuse
    ),
    "progress of a purge": lambda keys: keys.purge(key=FILTER, on_progress=_refuse),
    "export": lambda keys: export_keys(keys.list(key=FILTER), _FullDisk(), format="csv"),
    "export of an iterable": lambda keys: export_keys(_raise_later(), StringIO(), format="jsonl"),
    "progress of an export": lambda keys: export_keys(
        keys.list(key=FILTER), StringIO(), format="jsonl", on_progress=_refuse
    ),
    "export of values": lambda keys: export_values(
        keys.create_many(9, provider_id=1, hwid=HWID), _FullDisk()
    ),
    "export of a surrogate": lambda keys: export_values(_surrogate(), StringIO()),
}


async def _surrogate() -> AsyncIterator[KeyBatch]:
    yield KeyBatch(keys=(f"{CREATED}\ud800",), count=1)


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS.keys())
@on_virtual_clock
async def test_a_job_whose_callers_code_raises(job: Callable[[Keys], Awaitable[object]]) -> None:
    """What is raised in the middle of a job leaves it without the keys of the job."""
    async with Service(good) as service, connect(service.url) as client:
        errors = await errors_of(job(client.keys))
    assert errors
    assert leaks(errors) == []


@on_virtual_clock
async def test_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The errors of a ledger have no secret: of other arguments, a full disk, a broken file."""
    path = tmp_path / "job.db"

    def make(client: JunkieClient, path: Path = path, hwid: str = HWID) -> CreateJob:
        return client.keys.create_many(250, provider_id=1, hwid=hwid, key_name=BULK, ledger=path)

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    async with Service(lambda _: HANG) as service, connect(service.url, 100.0) as client:
        errors = await errors_of(by_timeout(make(client)))
        errors += await errors_of(make(client, hwid=f"{HWID}!"))
        errors += await errors_of(by_timeout(make(client)))  # reconciles
        with monkeypatch.context() as patch:
            patch.setattr(sqlite_record, "_commit_batch", fail)
            errors += await errors_of(make(client, tmp_path / "full.db"))
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE job SET arguments = ?", (json.dumps({"hwid": HWID}),))
        errors += await errors_of(asyncio.to_thread(provisioning.status, path))
    assert len(errors) == 5
    assert leaks(errors) == []


@on_virtual_clock
async def test_a_page_that_nobody_waits_for() -> None:
    """A page that was fetched ahead may fail unseen, and then asyncio logs its error."""

    def answer(request: Request) -> bytes | None:
        body = {"keys": [KEY | {"key_value": FILTER}] * 100, "pagination": {"total": 10_000}}
        good = "page=1&" in request.target or "page=2&" in request.target
        return http(200, json.dumps(body).encode()) if good else MISBEHAVIOUR["error 400"](request)

    async with Service(answer) as service, connect(service.url) as client:
        walk = client.keys.list(key=FILTER).pages()
        await anext(walk)
        await anext(walk)
        ahead = asyncio.all_tasks()
        await asyncio.sleep(1)
        errors = [error for task in ahead if task.done() and (error := task.exception())]
        assert errors
        await walk.aclose()
    assert leaks(errors) == []


# --- instrumentation ------------------------------------------------------------------------------


@pytest.mark.slow
def test_instrumentation_of_aiohttp() -> None:
    """sentry-sdk and OpenTelemetry record no URL of the client's own sessions.

    Of a given session they record key values, until its trace configs are cleared.
    """
    command = [sys.executable, "-m", "tests.faults.instrumented"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {
        "own": [],
        "given": ["digits", "filter", "hwid", "path"],
        "cleared": [],
    }
