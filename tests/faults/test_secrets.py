"""Canaries: an API key and key values, sent past every fault, and then looked for everywhere.

Each canary ends in a core of twelve letters and digits, which no quoting changes; eight of them in
a row, in any case, are a leak. The service echoes whatever it is sent, and so leads an error that
quotes it into temptation. What is searched: errors, with all that hangs on them, their tracebacks
and pickles; the records of all loggers at DEBUG, asyncio's debug mode among them; warnings; what
is written to stdout and stderr; and the repr of everything that a caller can hold.

Only a core of a value that the service made up may show, and only in the documented payloads: in
`rows` of an `InvalidResponseError` and in the `keys` of a `BatchError`'s report.
"""

from __future__ import annotations

import asyncio
import errno
import gc
import gzip
import html
import itertools
import json
import logging
import pickle
import socket
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, quote, unquote

import aiohttp
import attrs
import pytest

from junkie_async import (
    BatchError,
    ClientClosedError,
    InvalidRequestError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    Key,
    KeyBatch,
    NotFoundError,
    OutcomeUnknownError,
    RetryPolicy,
    TransportError,
    UpdateJob,
)
from junkie_async._http.dispatcher import Dispatcher

from ._echo import DROP, HANG, Answer, Last, Request, Service, http
from .operations import on_virtual_clock

CORES = {
    "api key": "q7w3z9k2m5x8",
    "path": "h4j6v1n8b3t9",
    "bulk": "y2r5d8f1g7c4",
    "filter": "p9l3s6a1e7u4",
    "hwid": "o5i8w2q6z1m3",
    "digits": "481516234210",
    "created": "t6k9x3b7n2v5",
}
API_KEY = f"jk_live_{CORES['api key']}"
PATH = f"JNK/é +%25&'\"<{CORES['path'].upper()}"
BULK = f"JNK-{CORES['bulk']}"
FILTER = f"JNK \\+{CORES['filter']}"
HWID = f"HW/{CORES['hwid']}"
DIGITS = CORES["digits"]
CREATED = f"JNK-{CORES['created']}"
SENT = (API_KEY, PATH, BULK, FILTER, HWID, DIGITS)

PARTS = {
    name: [core[start : start + 8] for start in range(len(core) - 7)]
    for name, core in CORES.items()
}


def found(text: str) -> set[str]:
    """Name the canaries of which eight characters are in a text."""
    lower = text.lower()
    return {name for name, parts in PARTS.items() if any(part in lower for part in parts)}


@attrs.frozen
class Trace:
    """A text that somebody may see; ``payload`` marks documented key values."""

    where: str
    text: str
    payload: bool = False

    @property
    def leaks(self) -> set[str]:
        """The canaries that it shows and must not show."""
        return found(self.text) - ({"created"} if self.payload else set())


# --- where to look --------------------------------------------------------------------------------


def chained_errors(error: BaseException) -> Iterator[tuple[str, BaseException]]:
    """Yield an error and all errors chained to it, suppressed or not, with the way to each."""
    seen: list[BaseException] = []
    left = [(type(error).__name__, error)]
    while left:
        where, one = left.pop()
        if any(one is other for other in seen):
            continue
        seen.append(one)
        yield where, one
        nested: dict[str, BaseException | None] = {
            "__cause__": one.__cause__,
            "__context__": one.__context__,
        }
        if isinstance(one, BaseExceptionGroup):
            nested |= {f"exceptions[{index}]": each for index, each in enumerate(one.exceptions)}
        left += [(f"{where}.{name}", each) for name, each in nested.items() if each is not None]


def traces_of_error(error: BaseException) -> Iterator[Trace]:
    """Yield every text that an error can show."""
    yield Trace("traceback", "".join(traceback.format_exception(error)))
    for where, one in chained_errors(error):
        yield Trace(f"locals of {where}", locals_of(one))
        yield from own_traces(where, one)
        if not isinstance(one, JunkieError):
            continue
        for protocol in (0, pickle.HIGHEST_PROTOCOL):
            pickled = pickle.dumps(one, protocol)
            payload = bool(getattr(one, "rows", ()) or getattr(one, "report", None))
            yield Trace(f"pickle of {where}", pickled.decode("latin-1"), payload)
            yield from own_traces(f"unpickled {where}", pickle.loads(pickled))


def locals_of(error: BaseException) -> str:
    """Show an error's traceback with the local variables of its frames, as error trackers do."""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    return "".join(shown.format(chain=False))


def own_traces(where: str, error: BaseException) -> Iterator[Trace]:
    """Yield what an error itself can show."""
    yield Trace(f"repr of {where}", repr(error))
    yield Trace(f"str of {where}", str(error))
    yield Trace(f"args of {where}", repr(error.args))
    yield Trace(f"notes of {where}", repr(getattr(error, "__notes__", ())))
    for name, value in vars(error).items():
        yield Trace(f"{where}.{name}", f"{value!r} {value}", payload=name == "rows")


def traces_of_logs(records: list[logging.LogRecord]) -> Iterator[Trace]:
    """Yield every text of log records: messages, arguments, tracebacks and extras."""
    formatter = logging.Formatter()
    for record in records:
        yield Trace(f"log of {record.name}", formatter.format(record))
        yield Trace(f"log record of {record.name}", repr(vars(record)))


class Watch:
    """Collects what a test's calls leave behind."""

    def __init__(self) -> None:
        self.records: list[logging.LogRecord] = []
        self.warnings: list[warnings.WarningMessage] = []
        self.calls: list[str] = []
        self.values: list[object] = []
        self.errors: list[BaseException] = []

    async def see(self, call: Awaitable[object]) -> None:
        """Await a call, and keep its value or its error."""
        try:
            self.values.append(await call)
        except (Exception, asyncio.CancelledError) as error:
            self.errors.append(error)

    def traces(self) -> Iterator[Trace]:
        """Yield all traces."""
        for error in self.errors:
            yield from traces_of_error(error)
        yield from traces_of_logs(self.records)
        for warning in self.warnings:
            yield Trace(f"warning {warning.category.__name__}", str(warning.message))
        for value in self.values:
            yield Trace(f"repr of {type(value).__name__}", f"{value!r} {value}")
        for call in self.calls:
            yield Trace("repr of Call", call)

    def leaks(self) -> list[str]:
        """Name the places where a canary shows, each once."""
        traces = {
            f"{trace.where}: {', '.join(sorted(trace.leaks))}"
            for trace in self.traces()
            if trace.leaks
        }
        return sorted(traces)


class Keeper(logging.Handler):
    """Keeps all records."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__(logging.DEBUG)
        self.records = records

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.records.append(record)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[Watch]:
    """Record a test's logs and warnings; at the end, nothing has leaked."""
    watch = Watch()
    send = Dispatcher.send

    async def spy(sender: Dispatcher, call: Any, **options: Any) -> object:
        watch.calls.append(f"{call!r} {call}")
        return await send(sender, call, **options)

    monkeypatch.setattr(Dispatcher, "send", spy)
    # Where a handle was created is the innermost of the frames that asyncio's debug mode keeps. To
    # extract ten of them for each handle took half of these tests' time.
    monkeypatch.setattr("asyncio.constants.DEBUG_STACK_DEPTH", 1)
    root = logging.getLogger()
    # In place of pytest's own handlers, each of which formats all records.
    monkeypatch.setattr(root, "handlers", [Keeper(watch.records)])
    level = root.level
    root.setLevel(logging.DEBUG)
    try:
        with warnings.catch_warnings(record=True) as watch.warnings:
            warnings.simplefilter("always")
            yield watch
            gc.collect()
    finally:
        root.setLevel(level)
    written = capfd.readouterr()
    assert not found(written.out + written.err), "stdout or stderr"
    leaks = watch.leaks()
    assert not leaks, "\n".join(leaks)


# --- a service that repeats what it hears ---------------------------------------------------------


def heard(request: Request) -> str:
    """Repeat a request: its path as it came and unquoted, its API key, its body."""
    authorization = next(
        line for line in request.header_lines if line.lower().startswith(b"authorization")
    )
    body = request.body.decode()
    return f"{authorization.decode()} {request.target} {unquote(request.target)} {body}"


def says(member: str, status: int) -> Answer:
    """Answer with JSON that repeats the request in a member, and in headers."""
    return lambda request: http(
        status, json.dumps({member: heard(request)}).encode(), *echoes(request)
    )


def echoes(request: Request) -> list[str]:
    """Repeat a request in headers."""
    said = heard(request)
    return [
        f"X-Echo: {quote(said)}",
        f"X-Plain: {said.encode('ascii', 'replace').decode()}",
        f"X-{API_KEY}: 1",
        f"Set-Cookie: session={API_KEY}",
        "Retry-After: 0",
    ]


def texts(status: int) -> Answer:
    """Answer with a text that repeats the request."""
    return lambda request: http(status, heard(request).encode(), kind="text/plain")


def pages(status: int) -> Answer:
    """Answer with an HTML page that repeats the request."""
    return lambda request: http(
        status,
        f"<html><h1>{html.escape(heard(request))}</h1>{heard(request)}</html>".encode(),
        *echoes(request),
        kind="text/html",
    )


def padded(room: int) -> Answer:
    """Repeat the API key, then the path, just where a text is cut to ``room`` characters."""
    calls = itertools.count()

    def answer(request: Request) -> bytes:
        said = [API_KEY, unquote(request.target)][next(calls) % 2]
        return http(400, f"{'x' * (room - len(said) + 3)}{said}".encode(), kind="text/plain")

    return answer


def reading(value: object) -> bytes:
    """Answer so that every field that a reader may look at holds this value."""
    key = {
        "id": value,
        "key_value": CREATED,
        "expires_at": value,
        "is_premium": value,
        "hwids": value,
        CREATED: value,
    }
    return http(
        200,
        json.dumps(
            {
                "key": key,
                "keys": [{"id": 1, "key_value": CREATED}, key | {"key_value": 5}, [value]],
                "pagination": {"total": value},
                "folders": [{"id": value}],
                "success": value,
                "deleted": value,
                "count": value,
                "message": {CREATED: value},
                "error": value,
            }
        ).encode(),
    )


def redirects(status: int) -> Answer:
    """Redirect the caller to a URL that repeats the request."""
    return lambda request: http(
        status, heard(request).encode(), f"Location: http://127.0.0.1:9/?{quote(heard(request))}"
    )


def breaks_off(request: Request) -> bytes:
    """Answer with less than was promised."""
    return Last(http(200, b'{"keys": ["' + heard(request).encode())[:-8])


def in_place(request: Request) -> bytes:
    """Answer with the request itself, where a status line should be."""
    return Last(request.head + request.body)


ERRORS: dict[str, Answer] = {
    **{f"error {status}": says("error", status) for status in (400, 401, 403, 404, 409, 418, 422)},
    **{f"error {status}": says("error", status) for status in (429, 500, 502, 503, 522)},
    **{f"message {status}": says("message", status) for status in (404, 500)},
    **{f"text {status}": texts(status) for status in (400, 429, 503)},
    **{f"page {status}": pages(status) for status in (400, 403, 429, 502)},
}
MISBEHAVIOUR: dict[str, Answer] = ERRORS | {
    "drops": lambda _: DROP,
    "hangs": lambda _: HANG,
    "breaks off": breaks_off,
    "in place of HTTP": in_place,
    "reason": lambda request: (
        f"HTTP/1.1 400 {API_KEY} {request.target}\r\nContent-Length: 0\r\n\r\n".encode()
    ),
    "bad header": lambda request: Last(f"HTTP/1.1 200 OK\r\n{heard(request)}\x00\r\n\r\n".encode()),
    "bad chunk": lambda request: Last(
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{heard(request)}\r\n".encode()
    ),
    "bad length": lambda request: Last(
        f"HTTP/1.1 200 OK\r\nContent-Length: {quote(heard(request))}\r\n\r\n".encode()
    ),
    "too much": lambda request: http(400, b"{}") + heard(request).encode(),
    "lower case": lambda request: http(400, heard(request).lower().encode()),
    "upper case": lambda request: http(400, heard(request).upper().encode()),
    "twice quoted": lambda request: http(400, quote(quote(heard(request), safe="")).encode()),
    "escaped": lambda request: http(400, json.dumps(json.dumps(heard(request))).encode()),
    "nested": lambda request: http(
        409, json.dumps({"error": {"message": heard(request), "request": heard(request)}}).encode()
    ),
    "cut message": padded(200),
    "cut body": padded(16 * 1024),
    "broken JSON": lambda request: http(200, b'{"key": {"key_value": "' + heard(request).encode()),
    "plain 200": lambda request: http(200, heard(request).encode(), kind="text/plain"),
    "page 200": pages(200),
    "strings": lambda request: reading(f"{CREATED} {heard(request)}"),
    "objects": lambda request: reading({heard(request): CREATED}),
    "lists": lambda request: reading([CREATED, heard(request)]),
    "a string": lambda request: http(200, json.dumps(heard(request)).encode()),
    "a list": lambda request: http(200, json.dumps([heard(request)]).encode()),
    "names": lambda request: http(200, json.dumps({heard(request): 1, CREATED: 2}).encode()),
    "redirect 302": redirects(302),
    "redirect 308": redirects(308),
    "304": redirects(304),
    "gzip": lambda request: http(
        400, gzip.compress(heard(request).encode()), "Content-Encoding: gzip"
    ),
    "no gzip": lambda request: http(200, heard(request).encode(), "Content-Encoding: gzip"),
    "coding": lambda request: http(200, b"{}", f"Content-Encoding: {quote(heard(request))}"),
    "long coding": lambda _: http(200, b"{}", f"Content-Encoding: {API_KEY}"),
    "headers": lambda request: http(
        429, b"", f"Retry-After: {API_KEY}", f"Date: {API_KEY}", kind=quote(heard(request))
    ),
}


# --- what is called -------------------------------------------------------------------------------


async def _walk(client: JunkieClient) -> int:
    return len([key async for key in client.keys.list(hwid=HWID, limit=1)])


async def _read_batches(client: JunkieClient) -> int:
    return len([batch async for batch in client.keys.create_many(250, provider_id=1, hwid=HWID)])


async def _raise_outcome(job: UpdateJob) -> None:
    """Raise the error of an outcome, which a job that goes on does not raise.

    A report has the keys themselves, as one of a create has those that it made: masked in its repr.
    """
    with suppress(BatchError):
        await job
    for outcome in job.report.outcomes:
        assert not found(f"{outcome!r} {job.report!r}")
        if outcome.error is not None:
            raise outcome.error


Call = Callable[[JunkieClient], Awaitable[object]]

CALLS: dict[str, Call] = {
    "list": lambda client: client.keys.list(key=FILTER, hwid=HWID),
    "walk": _walk,
    "first": lambda client: client.keys.list(key=FILTER).first(),
    "count": lambda client: client.keys.list(key=FILTER).count(),
    "collect": lambda client: client.keys.list(key=FILTER).collect(),
    "get": lambda client: client.keys.get(PATH),
    "get digits": lambda client: client.keys.get(DIGITS),
    "find": lambda client: client.keys.find(FILTER),
    "create": lambda client: client.keys.create(provider_id=1, hwid=HWID, hwids=[HWID]),
    "create_batch": lambda client: client.keys.create_batch(provider_id=1, amount=2, hwid=HWID),
    "create_many": lambda client: client.keys.create_many(250, provider_id=1, hwid=HWID),
    "create_many, read": _read_batches,
    "update": lambda client: client.keys.update(PATH, hwids=[HWID, BULK]),
    "update_many": lambda client: client.keys.update_many([1, 2], hwids=[HWID, BULK]),
    "update_many, outcome": lambda client: _raise_outcome(
        client.keys.update_many([(PATH, {"hwids": [HWID]}), (1, {"hwids": [BULK]})])
    ),
    "reset_hwid_many, outcome": lambda client: _raise_outcome(
        client.keys.reset_hwid_many([PATH, DIGITS])
    ),
    "invalidate": lambda client: client.keys.invalidate(PATH),
    "revalidate": lambda client: client.keys.revalidate(DIGITS),
    "delete": lambda client: client.keys.delete(PATH),
    "delete_many": lambda client: client.keys.delete_many([BULK, PATH, DIGITS]),
    "delete_many, pulled": lambda client: client.keys.delete_many(iter([BULK, PATH, DIGITS])),
    "bulk_delete": lambda client: client.keys.bulk_delete([BULK, PATH, FILTER]),
    "request": lambda client: client.request("GET", f"/keys/{quote(PATH)}/log"),
    "request with a query": lambda client: client.request("GET", "/keys", params={"key": FILTER}),
    "request with a body": lambda client: client.request(
        "PUT", f"/things/{quote(BULK)}", json=[{"hwids": [HWID], "own": DIGITS}], secret="own"
    ),
    "purge": lambda client: client.keys.purge(key=FILTER),
    "reset_hwid": lambda client: client.keys.reset_hwid(PATH),
    "folders": lambda client: client.keys.folders(),
}
POLICY = RetryPolicy(attempts=2, wait_initial=0, wait_max=0, wait_jitter=0, outage=0.0)


def connect(url: str, timeout: float = 5.0) -> JunkieClient:
    """Make a client that tries twice, without waiting in between."""
    return JunkieClient(API_KEY, base_url=url, retry=POLICY, timeout=timeout)


async def call_everything(client: JunkieClient, watch: Watch) -> None:
    """Make all calls concurrently, in asyncio's debug mode, which logs each callback."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    await asyncio.gather(*(watch.see(call(client)) for call in CALLS.values()))


# --- the tests ------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", MISBEHAVIOUR.values(), ids=MISBEHAVIOUR.keys())
@on_virtual_clock
async def test_no_fault_gives_a_secret_away(watch: Watch, answer: Answer) -> None:
    """Whatever the service does with a request, no trace of a call shows a secret."""
    timeout = 0.8 if answer is MISBEHAVIOUR["hangs"] else 5.0
    async with Service(answer) as service, connect(service.url, timeout) as client:
        await call_everything(client, watch)
    assert len(watch.errors) + len(watch.values) == len(CALLS)
    assert sum(isinstance(error, JunkieError) for error in watch.errors) > len(CALLS) / 2
    assert {name for request in service.requests for name in found(heard(request))} >= {
        *("api key", "path", "filter", "hwid", "digits")
    }


@on_virtual_clock
async def test_no_connection(watch: Watch) -> None:
    """A refused connection gives nothing away."""
    with socket.socket() as deaf:  # bound, so that nobody else gets the port, but not listening
        deaf.bind(("127.0.0.1", 0))
        async with connect(f"http://127.0.0.1:{deaf.getsockname()[1]}") as client:
            await call_everything(client, watch)
    assert len(watch.errors) == len(CALLS)


@on_virtual_clock
async def test_closed_client(watch: Watch) -> None:
    """A closed client gives nothing away."""
    client = connect("http://127.0.0.1:9")
    await client.close()
    await call_everything(client, watch)
    assert {type(error) for error in watch.errors} == {ClientClosedError, BatchError}


@on_virtual_clock
async def test_cancelled_calls(watch: Watch) -> None:
    """Cancelled calls give nothing away, nor do their tasks."""
    async with Service(lambda _: HANG) as service, connect(service.url, 2.0) as client:
        calls = asyncio.ensure_future(call_everything(client, watch))
        while len(service.requests) < 10:
            await asyncio.sleep(0)
        watch.values.append(f"{asyncio.all_tasks()!r}")
        for task in asyncio.all_tasks() - {asyncio.current_task(), calls}:
            if "see" in repr(task):
                task.cancel()
        await calls
    assert sum(isinstance(error, asyncio.CancelledError) for error in watch.errors) > 10


@on_virtual_clock
async def test_connection_lost_while_a_body_is_written(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that can't be written gives nothing away: aiohttp's error has the address in it."""

    async def fail(*_: object) -> None:
        raise ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")

    monkeypatch.setattr(aiohttp.BytesPayload, "write_with_length", fail)
    async with Service(lambda _: HANG) as service, connect(service.url, 1.0) as client:
        await call_everything(client, watch)
    lost = [error for error in watch.errors if type(error.__cause__ or error) is TransportError]
    assert lost  # on a busy machine some are late instead


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.keys.get(f"{PATH}\n"),
        lambda client: client.keys.find(f"{FILTER}\x00"),
        lambda client: client.keys.delete(Key(id=0, key_value=PATH)),
        lambda client: client.keys.create(provider_id=API_KEY),
        lambda client: client.keys.create(provider_id=1, hwids=[HWID * 30]),
        lambda client: client.keys.create(provider_id=1, hwids=HWID),
        lambda client: client.keys.create(provider_id=1, key_name={BULK: BULK}),
        lambda client: client.keys.update(PATH, expires_at=FILTER),
        lambda client: client.keys.update(PATH, discord_id=FILTER),
        lambda client: client.keys.update(PATH, is_premium=BULK.encode()),
        lambda client: client.keys.list(status=FILTER),
        lambda client: client.keys.list(page=DIGITS + DIGITS),
        lambda client: client.keys.bulk_delete(BULK),
        lambda client: client.keys.bulk_delete([BULK, [PATH]]),
        lambda client: client.keys.delete_many(BULK),
        lambda client: client.keys.delete_many(BULK[4:12]),
        lambda client: client.keys.delete_many([BULK, Key(id=0, key_value=BULK)]),
        lambda client: client.keys.update_many(BULK, is_premium=True),
        lambda client: client.keys.update_many([BULK]),
        lambda client: client.keys.update_many([(BULK, BULK)]),
        lambda client: client.keys.update_many([(BULK, {BULK: 5})]),
        lambda client: client.keys.update_many([(BULK, {"hwids": [HWID, f"{BULK}\x00"]})]),
        lambda client: client.keys.reset_hwid_many([f"{BULK}\x00"]),
        lambda client: client.keys.delete_many(iter([BULK, f"{BULK}\x00"])),
        lambda client: client.keys.create_many(BULK[4:12], provider_id=1),
    ],
)
@on_virtual_clock
async def test_bad_input(watch: Watch, call: Any) -> None:
    """A refused argument gives nothing away, even if it is a secret in the wrong place."""

    async def late(client: JunkieClient) -> object:
        return await call(client)

    async with Service(lambda _: DROP) as service, connect(service.url) as client:
        await watch.see(late(client))
    (error,) = watch.errors
    assert isinstance(error.__cause__ or error, InvalidRequestError)
    assert not service.requests


def _raises() -> Iterator[str]:
    yield BULK
    raise KeyError(BULK)


@on_virtual_clock
async def test_iterable_that_raises(watch: Watch) -> None:
    """A job's error does not repeat the text of the caller's own error."""
    async with Service(lambda _: DROP) as service, connect(service.url) as client:
        await watch.see(client.keys.delete_many(_raises()))
    (error,) = watch.errors
    assert isinstance(error, BatchError)
    assert isinstance(error.__cause__, KeyError)
    error.__cause__ = error.__context__ = None


@on_virtual_clock
async def test_ambiguous_value_that_no_key_has(watch: Watch) -> None:
    """A key value of digits that is not found is not named."""
    empty = http(200, json.dumps({"keys": [], "pagination": {"total": 0}}).encode())
    async with Service(lambda _: empty) as service, connect(service.url) as client:
        await watch.see(client.keys.get(DIGITS))
    (error,) = watch.errors
    assert isinstance(error, NotFoundError)


# --- good answers ---------------------------------------------------------------------------------

KEY = {"id": 7, "key_value": CREATED, "created_at": "2026-01-01T00:00:00Z"}


_NUMBERS = itertools.count()  # no key is created twice


def good(request: Request) -> bytes:
    """Answer with what was done, and to which key."""
    said = f"done: {heard(request)}"
    path, _, query = request.target.partition("?")
    filters = {name: values[0] for name, values in parse_qs(query).items()}
    keys: list[object] = [KEY | {"key_value": filters.get("key", CREATED)}]
    if request.target.endswith("batch"):
        amount = json.loads(request.body)["amount"]
        keys = [f"{CREATED}-{next(_NUMBERS)}" for _ in range(amount)]
    named = unquote(path.split("/")[-1])
    about = {"id": int(named)} if named.isdigit() else {"key_value": named}
    answer = {
        "key": KEY | (about if request.method == "GET" else {}),
        "keys": keys,
        "pagination": {"page": 1, "limit": 100, "total": 1, "totalPages": 1},
        "count": len(keys),
        "config": {"said": said},
        "folders": [{"id": 1, "name": "a"}],
        "success": True,
        "message": said,
        "deleted": 1,
    }
    return http(200, json.dumps(answer).encode(), *echoes(request))


@on_virtual_clock
async def test_good_answers(watch: Watch) -> None:
    """Good responses give nothing away, in the repr of their values or in logs."""
    async with Service(good) as service, connect(service.url) as client:
        await call_everything(client, watch)
        creates = client.keys.create_many(100, provider_id=1, hwid=HWID)
        deletes = client.keys.delete_many([BULK, PATH])
        watch.values += [await creates, await deletes, creates, deletes]
        pager = client.keys.list(key=FILTER)
        pager.close()  # or it would warn that it was never used
        watch.values += [client, client.keys, pager, *vars(client).values()]
    assert not watch.errors
    assert {record.name for record in watch.records} >= {"asyncio", "junkie_async"}
    batches = [value for value in watch.values if isinstance(value, KeyBatch)]
    assert any(batch.keys[0].startswith(CREATED) for batch in batches)


@on_virtual_clock
async def test_unclosed_client(watch: Watch) -> None:
    """A client that is forgotten is warned about, without a secret."""
    async with Service(good) as service:
        client = connect(service.url)
        await call_everything(client, watch)
        del client
        gc.collect()
        await asyncio.sleep(0)
    assert any(warning.category is ResourceWarning for warning in watch.warnings)


@on_virtual_clock
async def test_documented_payload_is_kept(watch: Watch) -> None:
    """Of a batch with a bad row, the created values are in `rows` and in the job's report."""
    created = tuple(f"{CREATED}-{row}" for row in range(99))
    batch = {"keys": [*created, 5], "count": 100, "config": {}}
    answer = http(200, json.dumps(batch).encode())
    async with Service(lambda _: answer) as service:
        async with connect(service.url) as client:
            await watch.see(client.keys.create_batch(provider_id=1, amount=100))
        async with connect(service.url) as client:  # the one before would notice a repetition
            await watch.see(client.keys.create_many(100, provider_id=1))
    unknown, ended = watch.errors
    assert isinstance(unknown, OutcomeUnknownError)
    assert isinstance(unknown.__cause__, InvalidResponseError)
    assert pickle.loads(pickle.dumps(unknown.__cause__)).rows == created
    assert isinstance(ended, BatchError)
    assert pickle.loads(pickle.dumps(ended)).report.keys == created


@pytest.mark.parametrize(
    "part",
    [
        lambda client: client,
        lambda client: client.keys,
        lambda client: client._dispatcher,
    ],
)
async def test_no_pickle_of_the_client(part: Callable[[JunkieClient], object]) -> None:
    """Objects that hold the API key refuse to be pickled, without showing it."""
    async with Service(good) as service, connect(service.url) as client:
        with pytest.raises(TypeError) as fresh:
            pickle.dumps(part(client))
        await client.keys.get(5)
        with pytest.raises(TypeError) as used:
            pickle.dumps(part(client))
    assert not found(f"{fresh.value!r} {used.value!r}")


# --- the search itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [*SENT, CREATED])
@pytest.mark.parametrize(
    "form",
    [str, str.upper, str.lower, quote, html.escape, json.dumps, ascii, lambda text: text[-8:]],
)
def test_the_search_finds(secret: str, form: Callable[[str], str]) -> None:
    """The search finds every form of a canary, and does not report masked ones."""
    assert len(found(f"...{form(secret)}...")) == 1
    assert not found(f"{secret[:4]}…{secret[-4:]}")


async def test_the_search_looks_everywhere() -> None:
    """A canary is found in all parts of an error, and in a log record's arguments."""
    error = BatchError("ended", report=None)
    error.args = (API_KEY,)
    error.add_note(BULK)
    error.path = PATH
    error.__cause__ = ExceptionGroup("several", [ValueError(FILTER)])
    error.__cause__.__context__ = KeyError(HWID)
    leaks = {name for trace in traces_of_error(error) for name in trace.leaks}
    assert leaks == {"api key", "bulk", "path", "filter", "hwid"}
    record = logging.LogRecord("a", logging.DEBUG, "", 1, "%.2s", (DIGITS,), None)
    assert {name for trace in traces_of_logs([record]) for name in trace.leaks} == {"digits"}
