"""The nine operations with their values, and the checks that follow each call."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, ParamSpec

import attrs
import pytest

from junkie_async import (
    ActionResult,
    BulkDeleteResult,
    JunkieClient,
    JunkieError,
    Key,
    KeyBatch,
    KeyDetailed,
    KeyFolder,
    KeyPage,
    Outcome,
    OutcomeUnknownError,
    Pagination,
    RetryPolicy,
    UpdateResult,
)

from ..unit.clock import run
from .server import FaultServer, open_files

P = ParamSpec("P")

SECRET = "s3cret-api-key"
NO_WAIT = RetryPolicy(attempts=3, wait_initial=0, wait_max=0, wait_jitter=0, outage=0.0)
"""Three attempts, without waiting."""
LONG_WAITS = RetryPolicy(
    wait_initial=100.0, wait_max=100.0, wait_jitter=0.0, deadline=1000.0, outage=0.0
)
"""Waits that no test sees the end of, within the cap on ``Retry-After``."""

_MADE: dict[str, Any] = {
    "created_at": datetime(2026, 1, 1, tzinfo=UTC),
    "hwid_limit": 3,
}
_ONE = {"id": 1, "key_value": "JNK-0001", "key_name": "one", "keys_hwid": ("PC",), **_MADE}
_TWO = {"id": 2, "key_value": "JNK-0002", "key_name": "two", "keys_hwid": ("PC",), **_MADE}


@attrs.frozen
class Operation:
    """One operation, as the tests call it.

    Attributes:
        name: Its name, which the server knows it by too.
        call: A function that calls it.
        method: The HTTP method.
        path: The path template that errors name.
        value: Its value.
        bare: Its value when the service leaves out all optional fields.
        idempotent: Whether a repetition does no harm.
    """

    name: str
    call: Callable[[JunkieClient], Awaitable[object]]
    method: str
    path: str
    value: object
    bare: object
    idempotent: bool = True


IDEMPOTENT = [
    Operation(
        "list",
        lambda junkie: junkie.keys.list(),
        "GET",
        "/keys",
        KeyPage(
            keys=(Key(**_ONE), Key(**_TWO)),
            pagination=Pagination(page=1, limit=100, total=2, total_pages=1),
        ),
        KeyPage(keys=(Key(id=1, key_value="JNK-0001"), Key(id=2, key_value="JNK-0002"))),
    ),
    Operation(
        "get",
        lambda junkie: junkie.keys.get(1),
        "GET",
        "/keys/{keyId}",
        KeyDetailed(**_ONE),
        KeyDetailed(id=1, key_value="JNK-0001"),
    ),
    Operation(
        "update",
        lambda junkie: junkie.keys.update(1, key_name="x"),
        "PUT",
        "/keys/{keyId}",
        UpdateResult(success=True, message="updated", keys_hwid=("PC",)),
        UpdateResult(),
    ),
    Operation(
        "delete", lambda junkie: junkie.keys.delete(1), "DELETE", "/keys/{keyId}", None, None
    ),
    Operation(
        "bulk_delete",
        lambda junkie: junkie.keys.bulk_delete([1]),
        "POST",
        "/keys/bulk-delete",
        BulkDeleteResult(deleted=1, requested=1),
        BulkDeleteResult(deleted=1, requested=1),
    ),
    Operation(
        "folders",
        lambda junkie: junkie.keys.folders(),
        "GET",
        "/keys/folders",
        [KeyFolder(id=5, name="main")],
        [KeyFolder(id=5)],
    ),
]
NON_IDEMPOTENT = [
    Operation(
        "create",
        lambda junkie: junkie.keys.create(provider_id=1),
        "POST",
        "/keys",
        Key(id=3, key_value="JNK-0003", key_name="new", **_MADE),
        Key(id=3, key_value="JNK-0003"),
        idempotent=False,
    ),
    Operation(
        "create_batch",
        lambda junkie: junkie.keys.create_batch(provider_id=1, amount=2),
        "POST",
        "/keys/batch",
        KeyBatch(keys=("JNK-0003", "JNK-0004"), count=2, config={"hwid_limit": 3}),
        KeyBatch(keys=("JNK-0003", "JNK-0004"), count=2),
        idempotent=False,
    ),
    Operation(
        "reset_hwid",
        lambda junkie: junkie.keys.reset_hwid(1),
        "POST",
        "/keys/{keyId}/reset-hwid",
        ActionResult(success=True, message="unbound"),
        ActionResult(),
        idempotent=False,
    ),
]
OPERATIONS = [*IDEMPOTENT, *NON_IDEMPOTENT]
BY_NAME = {operation.name: operation for operation in OPERATIONS}
# One of each kind, for what does not depend on the operation: a read, a write that may be
# repeated, one whose repetition may get a 404, and one that must not be repeated.
SAMPLES = [BY_NAME[name] for name in ("list", "update", "delete", "create")]


def on_virtual_clock(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a test on a virtual clock, so that its time-outs and pauses take no real time.

    Sockets get 10 ms before the clock jumps. Fixtures of the real event loop can't be used.
    """

    @functools.wraps(test)
    def run_test(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs), grace=0.01)

    return run_test


def with_each(operations: list[Operation]) -> pytest.MarkDecorator:
    """Run a test with each of the operations."""
    return pytest.mark.parametrize("operation", operations, ids=lambda operation: operation.name)


async def warm_up(client: JunkieClient, *, idempotent: bool) -> None:
    """Open the connection that the next call of this kind will reuse."""
    await (client.keys.get(2) if idempotent else client.keys.reset_hwid(2))


@asynccontextmanager
async def calm(*servers: FaultServer) -> AsyncIterator[None]:
    """Fail if a connection, a file or a task is left behind."""
    files, tasks = open_files(), asyncio.all_tasks()
    yield
    for server in servers:
        await server.wait_until_closed()
        tasks |= server.tasks
    for _ in range(100):  # a transport closes its socket a few iterations later
        left = asyncio.all_tasks() - tasks - {asyncio.current_task()}
        if not left and open_files() <= files:  # fewer, if the garbage collector ran meanwhile
            return
        await asyncio.sleep(0)
    assert not left
    assert open_files() <= files


def client_of(url: str, **options: Any) -> JunkieClient:
    """Make a client; by default it tries three times without waiting."""
    return JunkieClient(SECRET, base_url=url, **{"retry": NO_WAIT, "timeout": 10.0, **options})


@asynccontextmanager
async def connect(server: FaultServer, **options: Any) -> AsyncIterator[JunkieClient]:
    """Yield a client of the server; fail if it leaves anything open."""
    async with calm(server), client_of(server.url, **options) as client:
        yield client


def chain(error: BaseException | None) -> list[BaseException]:
    """Return an error and all errors chained to it, by cause and by context."""
    found: list[BaseException] = []
    ahead = [error]
    while ahead:
        error = ahead.pop()
        if error is not None and error not in found:
            found.append(error)
            ahead += [error.__cause__, error.__context__]
    return found


def check_failure(
    error: JunkieError,
    operation: Operation,
    cls: type[JunkieError],
    outcome: Outcome,
    attempts: int,
) -> JunkieError:
    """Compare an error with the expected one.

    Args:
        error: The error that the call raised.
        operation: The operation that was called.
        cls: The exact class of the failure.
        outcome: The expected outcome.
        attempts: The expected number of requests.

    Returns:
        The failure: the error, or its cause when the outcome is unknown.
    """
    assert (error.outcome, error.attempts) == (outcome, attempts)
    assert (error.method, error.path) == (operation.method, operation.path)
    for link in chain(error):
        assert isinstance(link, JunkieError)
        assert SECRET not in f"{link!r} {link} {vars(link)!r}"
    if operation.idempotent or outcome is Outcome.NOT_EXECUTED:
        assert type(error) is cls
        assert chain(error) == [error]
        return error
    assert type(error) is OutcomeUnknownError
    cause = error.__cause__
    assert isinstance(cause, JunkieError)
    assert type(cause) is cls
    assert set(map(id, chain(error))) == {id(error), id(cause)}
    return cause
