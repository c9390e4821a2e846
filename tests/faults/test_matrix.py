"""Every fault of the table, with every operation, on fresh and on reused connections."""

from __future__ import annotations

import pytest

from junkie_async import BulkDeleteResult, InvalidResponseError, JunkieError

from .matrix import DONE, NO, ROWS, Row
from .operations import (
    OPERATIONS,
    Operation,
    check_failure,
    connect,
    warm_up,
    with_each,
)
from .server import HEALTHY, FaultServer


def check_value(value: object, operation: Operation, row: Row, *, repeated: bool) -> None:
    """Compare a call's value with the expected one, carried out once or twice."""
    expected = operation.bare if row.bare else operation.value
    if operation.name == "bulk_delete" and repeated:
        expected = BulkDeleteResult(deleted=0, requested=1)  # what is gone stays gone
    assert value == expected


def check_error(error: JunkieError, operation: Operation, row: Row, attempts: int) -> None:
    """Compare an error with its row."""
    verdict = row.verdict(operation)
    assert verdict.error is not None
    what = check_failure(error, operation, verdict.error, verdict.outcome, attempts)
    assert {name: getattr(what, name) for name in row.says} == row.says


def check_claim(error: JunkieError, commits: int) -> None:
    """Compare an error's outcome with what the server carried out."""
    if error.outcome is NO:
        assert commits == 0
    if error.outcome is DONE:
        assert commits > 0


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
@with_each(OPERATIONS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_one_fault(row: Row, operation: Operation, *, reused: bool) -> None:
    """A single fault is survived or raised, with no more requests and commits than needed."""
    verdict = row.verdict(operation)
    again = verdict.tries > 1
    async with FaultServer() as server, connect(server) as client:
        if reused:
            server.script.append(HEALTHY)
            await warm_up(client, idempotent=operation.idempotent)
        server.script.extend([row.fault, HEALTHY] if again else [row.fault])
        if again or verdict.error is None:
            value = await operation.call(client)
            check_value(value, operation, row, repeated=again and row.fault.commits)
        else:
            with pytest.raises(JunkieError) as caught:
                await operation.call(client)
            check_error(caught.value, operation, row, 1)
            check_claim(caught.value, server.commits - reused)
    assert len(server.arrivals) == reused + 1 + again
    assert server.arrivals[: reused + 1] == [1] * (reused + 1)  # the same connection if reused
    commits = row.fault.commits + again
    if operation.name == "delete":
        commits = min(commits, 1)  # the second finds nothing to delete, which is a success
    assert server.commits - reused == commits


STAYING = [
    pytest.param(row, operation, id=f"{row.name}-{operation.name}")
    for row in ROWS
    for operation in OPERATIONS
    if row.verdict(operation).tries > 1
]


@pytest.mark.parametrize(("row", "operation"), STAYING)
async def test_a_fault_that_stays(row: Row, operation: Operation) -> None:
    """A fault at every attempt is raised in the end, after as many attempts as the table says."""
    verdict = row.verdict(operation)
    commits = verdict.tries if row.fault.commits else 0
    async with FaultServer() as server, connect(server) as client:
        server.script.extend([row.fault] * verdict.tries)
        if operation.name == "delete" and verdict.error is InvalidResponseError:
            await operation.call(client)  # the second answer is a 404: the first has deleted it
        else:
            with pytest.raises(JunkieError) as caught:
                await operation.call(client)
            check_error(caught.value, operation, row, verdict.tries)
            check_claim(caught.value, server.commits)
    assert len(server.arrivals) == verdict.tries
    assert server.commits == (min(commits, 1) if operation.name == "delete" else commits)
