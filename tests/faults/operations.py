"""The nine operations, what each gives when all is well, and what must hold after any call."""

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
AT_ONCE = RetryPolicy(attempts=3, wait_initial=0, wait_max=0, wait_jitter=0)
"""Three attempts, without waiting."""
AGES = RetryPolicy(wait_initial=100.0, wait_max=100.0, wait_jitter=0.0, deadline=1000.0)
"""Waits that no test sees the end of; within the cap on what a service may ask for."""

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
        call: Calls it.
        method: The HTTP method.
        path: The path template that errors name.
        value: What it gives when all is well.
        bare: What it gives when the service leaves out all that it may.
        once: Whether a repetition could do harm.
    """

    name: str
    call: Callable[[JunkieClient], Awaitable[object]]
    method: str
    path: str
    value: object
    bare: object
    once: bool = False


REPEATABLE = [
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
ONCE = [
    Operation(
        "create",
        lambda junkie: junkie.keys.create(provider_id=1),
        "POST",
        "/keys",
        Key(id=3, key_value="JNK-0003", key_name="new", **_MADE),
        Key(id=3, key_value="JNK-0003"),
        once=True,
    ),
    Operation(
        "create_batch",
        lambda junkie: junkie.keys.create_batch(provider_id=1, amount=2),
        "POST",
        "/keys/batch",
        KeyBatch(keys=("JNK-0003", "JNK-0004"), count=2, config={"hwid_limit": 3}),
        KeyBatch(keys=("JNK-0003", "JNK-0004"), count=2),
        once=True,
    ),
    Operation(
        "reset_hwid",
        lambda junkie: junkie.keys.reset_hwid(1),
        "POST",
        "/keys/{keyId}/reset-hwid",
        ActionResult(success=True, message="unbound"),
        ActionResult(),
        once=True,
    ),
]
OPERATIONS = [*REPEATABLE, *ONCE]
BY_NAME = {operation.name: operation for operation in OPERATIONS}
# One of each class for what does not depend on the operation: a read, a write that may be
# repeated, one whose repetition may find nothing left to do, and one that must not be repeated.
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


async def warm_up(client: JunkieClient, *, once: bool) -> None:
    """Open the connection that the next call of this class will find idle."""
    await (client.keys.reset_hwid(2) if once else client.keys.get(2))


@asynccontextmanager
async def calm(*servers: FaultServer) -> AsyncIterator[None]:
    """Fail if what happens inside leaves a connection, a file or a task behind."""
    files, tasks = open_files(), asyncio.all_tasks()
    yield
    for server in servers:
        await server.settle()
        tasks |= server.tasks
    for _ in range(100):  # a transport closes its socket a few turns later
        left = asyncio.all_tasks() - tasks - {asyncio.current_task()}
        if not left and open_files() <= files:  # fewer, if a collector's turn came meanwhile
            return
        await asyncio.sleep(0)
    assert not left
    assert open_files() <= files


def client_of(url: str, **options: Any) -> JunkieClient:
    """A client that tries three times, without waiting, unless the options say otherwise."""
    return JunkieClient(SECRET, base_url=url, **{"retry": AT_ONCE, "timeout": 10.0, **options})


@asynccontextmanager
async def connect(server: FaultServer, **options: Any) -> AsyncIterator[JunkieClient]:
    """A client of the server that leaves nothing open."""
    async with calm(server), client_of(server.url, **options) as client:
        yield client


def chain(error: BaseException | None) -> list[BaseException]:
    """An error and all that hang on it, by cause and by context."""
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
    """Hold an error against what it should be.

    Args:
        error: What the call raised.
        operation: What was called.
        cls: The exact class of what happened.
        outcome: What the error should claim.
        attempts: The requests that it should count.

    Returns:
        What happened: the error, or its cause where the call must not be repeated.
    """
    assert (error.outcome, error.attempts) == (outcome, attempts)
    assert (error.method, error.path) == (operation.method, operation.path)
    for link in chain(error):
        assert isinstance(link, JunkieError)
        assert SECRET not in f"{link!r} {link} {vars(link)!r}"
    if not operation.once or outcome is Outcome.NOT_EXECUTED:
        assert type(error) is cls
        assert chain(error) == [error]
        return error
    assert type(error) is OutcomeUnknownError
    cause = error.__cause__
    assert isinstance(cause, JunkieError)
    assert type(cause) is cls
    assert set(map(id, chain(error))) == {id(error), id(cause)}
    return cause
