"""Unusable responses: which rows survive, and what the error says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from junkie_async import (
    BatchError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    Outcome,
    OutcomeUnknownError,
    ServerError,
)

from .faults import WRONG_FIELDS, answers, commits_and_changes, commits_but_says, wrong_field
from .operations import BY_NAME, OPERATIONS, Operation, check_failure, with_each
from .server import HEALTHY, Fault, FaultServer

DONE = Outcome.EXECUTED


def spoils_row(index: int, **fields: object) -> Fault:
    """Answer with a page of a hundred keys, one of which has these fields."""
    rows: list[dict[str, object]] = [
        {"id": number, "key_value": f"JNK-{number}"} for number in range(100)
    ]
    rows[index] |= fields
    return commits_but_says(json.dumps({"keys": rows}).encode())


@pytest.mark.parametrize("index", [0, 42, 99])
async def test_one_bad_row_in_a_page(server: FaultServer, client: JunkieClient, index: int) -> None:
    """The error names the row and its field, and has the other 99 keys."""
    server.script.append(spoils_row(index, id="x"))
    with pytest.raises(InvalidResponseError) as caught:
        await client.keys.list()
    check_failure(caught.value, BY_NAME["list"], InvalidResponseError, DONE, 1)
    error = caught.value
    assert (error.field, error.row, error.status) == (f"keys[{index}].id", index, 200)
    assert [key.id for key in error.rows] == [n for n in range(100) if n != index]
    assert not error.transient


async def test_a_bad_row_in_a_walk(server: FaultServer, client: JunkieClient) -> None:
    """A walk that meets a bad row names the page."""
    server.script.append(spoils_row(3, key_value=None))
    with pytest.raises(InvalidResponseError) as caught:
        await client.keys.list().collect()
    assert (caught.value.page, caught.value.row, len(caught.value.rows)) == (1, 3, 99)


@with_each([operation for operation in OPERATIONS if operation.name != "delete"])
async def test_the_field_that_is_wrong(
    server: FaultServer, client: JunkieClient, operation: Operation
) -> None:
    """Good JSON of a wrong shape means executed, and the error names the field."""
    server.script.append(wrong_field)
    with pytest.raises(JunkieError) as caught:
        await operation.call(client)
    what = check_failure(caught.value, operation, InvalidResponseError, DONE, 1)
    assert isinstance(what, InvalidResponseError)
    assert what.field == WRONG_FIELDS[operation.name][1]
    assert what.message in str(caught.value)


async def test_a_bad_row_does_not_take_a_batch_with_it(
    server: FaultServer, client: JunkieClient
) -> None:
    """Every readable key value of a created batch reaches the caller."""
    values: list[Any] = ["JNK-1", {"key_value": "JNK-2"}, 5, {"key_value": "JNK-4"}]
    server.script.append(commits_and_changes(lambda _: {"keys": values, "count": "four"}))
    with pytest.raises(BatchError) as caught:
        await client.keys.create_many(4, provider_id=1)
    report = caught.value.report
    assert (report.keys, report.unknown, report.failed) == (("JNK-1", "JNK-2", "JNK-4"), 1, 0)


async def test_a_batch_of_which_a_row_is_bad(server: FaultServer, client: JunkieClient) -> None:
    """The error of a single batch call has the good rows, too."""
    server.script.append(commits_and_changes(lambda answer: answer | {"keys": ["JNK-3", 4.5]}))
    with pytest.raises(OutcomeUnknownError) as caught:
        await client.keys.create_batch(provider_id=1, amount=2)
    what = check_failure(caught.value, BY_NAME["create_batch"], InvalidResponseError, DONE, 1)
    assert isinstance(what, InvalidResponseError)
    assert (what.row, what.rows) == (1, ("JNK-3",))


async def test_gzip_is_asked_for(server: FaultServer, client: JunkieClient) -> None:
    """Requests have Accept, Accept-Encoding and User-Agent headers."""
    server.script.append(HEALTHY)
    await client.keys.get(1)
    headers = server.requests[0].headers
    assert (headers["accept"], headers["accept-encoding"]) == ("application/json", "gzip")
    assert headers["user-agent"].startswith("junkie_async/")


async def test_the_services_own_message(server: FaultServer, client: JunkieClient) -> None:
    """After the last attempt the caller gets the service's message, body and headers."""
    words = b'{"message": "database down"}'
    server.script.extend([answers(500, words, x_request_id="abc")] * 3)
    with pytest.raises(ServerError) as caught:
        await client.keys.get(1)
    assert (caught.value.status, caught.value.body) == (500, words.decode())
    assert caught.value.headers["x-request-id"] == "abc"
    assert (caught.value.message, caught.value.attempts) == ("database down", 3)


async def test_cookies_are_not_kept(server: FaultServer, client: JunkieClient) -> None:
    """A gateway's cookie does not come back with the next request."""
    sets_cookie = answers(200, b'{"folders": []}', set_cookie="id=1; Path=/")
    server.script.extend([sets_cookie, HEALTHY])
    await client.keys.folders()
    await client.keys.folders()
    assert "cookie" not in server.requests[1].headers
