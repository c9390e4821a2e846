"""Responses that do not come, or come in drips, on a virtual clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from junkie_async import BulkDeleteResult, JunkieError, Outcome, RequestTimeoutError, RetryPolicy

from .faults import drips_body, drips_head, hangs
from .operations import (
    BY_NAME,
    IDEMPOTENT,
    OPERATIONS,
    Operation,
    calm,
    check_failure,
    client_of,
    on_virtual_clock,
    warm_up,
)
from .server import HEALTHY, Fault, FaultServer

TIMEOUT = 2.0
WATCHDOG = 30.0  # for a drip that no time-out ends
TWICE = RetryPolicy(attempts=2, wait_initial=0, wait_jitter=0, outage=0.0)


async def check_one(operation: Operation, fault: Fault, *, reused: bool) -> None:
    """Meet the fault once: retried if that does no harm, otherwise the outcome is unknown."""
    async with FaultServer() as server, client_of(server.url, timeout=TIMEOUT) as client:
        if reused:
            server.script.append(HEALTHY)
            await warm_up(client, idempotent=operation.idempotent)
        server.script.append(fault)
        if not operation.idempotent:
            with pytest.raises(JunkieError) as caught:
                await operation.call(client)
            check_failure(caught.value, operation, RequestTimeoutError, Outcome.UNKNOWN, 1)
        else:
            server.script.append(HEALTHY)
            value = await operation.call(client)
            gone = BulkDeleteResult(deleted=0, requested=1)
            assert value == (gone if operation.name == "bulk_delete" else operation.value)
    again = operation.idempotent
    assert server.arrivals[: reused + 1] == [1] * (reused + 1)
    assert len(server.arrivals) == reused + 1 + again
    assert server.commits == reused + (1 if operation.name == "delete" else 1 + again)


async def check_two(operation: Operation, fault: Fault) -> None:
    """Meet the fault at every attempt: the error is a time-out, and counts the attempts."""
    async with (
        FaultServer() as server,
        client_of(server.url, timeout=TIMEOUT, retry=TWICE) as client,
    ):
        server.script.extend([fault] * 2)
        with pytest.raises(RequestTimeoutError) as caught:
            await operation.call(client)
    check_failure(caught.value, operation, RequestTimeoutError, Outcome.UNKNOWN, 2)
    assert len(server.arrivals) == 2
    assert server.commits == (1 if operation.name == "delete" else 2)


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
@pytest.mark.parametrize(
    "fault", [hangs, drips_head, drips_body], ids=["hangs", "drips_head", "drips_body"]
)
@on_virtual_clock
async def test_one_time_out(fault: Fault, *, reused: bool) -> None:
    """Silence and a drip of bytes end at the time-out, and the connection is closed."""
    async with asyncio.timeout(WATCHDOG), calm(), asyncio.TaskGroup() as group:
        for operation in OPERATIONS:
            group.create_task(check_one(operation, fault, reused=reused))


@on_virtual_clock
async def test_time_outs_that_stay() -> None:
    """A service that never answers is a time-out when the attempts are used up."""
    async with asyncio.timeout(WATCHDOG), calm(), asyncio.TaskGroup() as group:
        for operation in IDEMPOTENT:
            for fault in (hangs, drips_head, drips_body):
                group.create_task(check_two(operation, fault))


@on_virtual_clock
async def test_the_overall_deadline() -> None:
    """The policy's deadline ends a call, however many attempts are left."""
    retry = RetryPolicy(attempts=9, wait_initial=0, wait_jitter=0, deadline=2.0, outage=0.0)
    async with FaultServer() as server:
        server.script.extend([hangs] * 2)
        begin = asyncio.get_running_loop().time()
        async with calm(server), client_of(server.url, timeout=1.8, retry=retry) as client:
            with pytest.raises(RequestTimeoutError) as caught:
                await client.keys.get(1)
            took = asyncio.get_running_loop().time() - begin
    check_failure(caught.value, BY_NAME["get"], RequestTimeoutError, Outcome.UNKNOWN, 2)
    assert took == pytest.approx(2.0, abs=0.01)  # the second attempt was cut short


@on_virtual_clock
async def test_the_wait_for_a_slot_is_no_time_out() -> None:
    """The time-out is for the service, not for the queue: a call may wait longer for its slot."""
    options: dict[str, Any] = {"timeout": 1.0, "retry": RetryPolicy(attempts=1)}
    async with FaultServer() as server:
        server.script.extend([hangs, hangs, HEALTHY])
        async with calm(server), client_of(server.url, max_in_flight=1, **options) as client:
            calls = [asyncio.ensure_future(client.keys.get(1)) for _ in range(3)]
            ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(end) for end in ended[:2]] == [RequestTimeoutError] * 2
    assert ended[2] == BY_NAME["get"].value
