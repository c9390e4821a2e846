"""Several faults in one call, and what the last error says of all attempts."""

from __future__ import annotations

import asyncio

import attrs
import pytest

from junkie_async import (
    AuthenticationError,
    BadRequestError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TransportError,
)

from . import faults as f
from .operations import (
    BY_NAME,
    IDEMPOTENT,
    NON_IDEMPOTENT,
    Operation,
    check_failure,
    connect,
    with_each,
)
from .server import HEALTHY, Fault, FaultServer

NO, MAYBE, DONE = Outcome.NOT_EXECUTED, Outcome.UNKNOWN, Outcome.EXECUTED
BUSY = f.answers(429, retry_after="0")
REFUSED_AT_THE_DOOR = f.answers(503, retry_after="0")
MUCH_LATER = f.answers(429, retry_after="600")
DOWN = f.answers(500)
HTML = f.commits_but_says(f.HTML, content_type="text/html")
CHALLENGE = f.answers(403, f.HTML, content_type="text/html")
CUT_GZIP = f.commits_but_says(b"\x1f\x8b\x08", content_encoding="gzip")


@attrs.frozen
class Sequence:
    """Faults, and the error of the last one; None if the call succeeds in the end."""

    faults: list[Fault]
    error: type[JunkieError] | None = None
    outcome: Outcome = NO


OF_IDEMPOTENT = {
    "lost, down": Sequence([f.drops, DOWN, HEALTHY]),
    "busy, lost": Sequence([BUSY, f.commits_and_resets, HEALTHY]),
    "busy, unavailable": Sequence([BUSY, REFUSED_AT_THE_DOOR, HEALTHY]),
    "cut, busy": Sequence([CUT_GZIP, BUSY, HEALTHY]),
    "down, refused": Sequence([DOWN, f.answers(400)], BadRequestError, MAYBE),
    "lost, barred": Sequence([f.commits_and_drops, f.answers(401)], AuthenticationError, MAYBE),
    "lost, busy, busy": Sequence([f.drops, BUSY, BUSY], RateLimitError, MAYBE),
    "busy, lost, unavailable": Sequence([BUSY, f.drops, REFUSED_AT_THE_DOOR], ServerError, MAYBE),
    "busy, busy, lost": Sequence([BUSY, BUSY, f.drops], TransportError, MAYBE),
    "busy, busy, busy": Sequence([BUSY] * 3, RateLimitError, NO),
    "busy, refused": Sequence([BUSY, f.answers(422)], BadRequestError, NO),
    "down, challenged": Sequence([DOWN, CHALLENGE], PermissionDeniedError, MAYBE),
    "lost, much later": Sequence([f.drops, MUCH_LATER], RateLimitError, MAYBE),
    "busy, too large": Sequence([BUSY, f.bomb], InvalidResponseError, MAYBE),
}
OF_NON_IDEMPOTENT = {
    "busy, unavailable": Sequence([BUSY, REFUSED_AT_THE_DOOR, HEALTHY]),
    "busy, lost": Sequence([BUSY, f.commits_and_drops], TransportError, MAYBE),
    "busy, down": Sequence([BUSY, DOWN], ServerError, MAYBE),
    "busy, HTML": Sequence([BUSY, HTML], InvalidResponseError, MAYBE),
    "busy, cut": Sequence([BUSY, CUT_GZIP], InvalidResponseError, MAYBE),
    "busy, wrong shape": Sequence([BUSY, f.wrong_field], InvalidResponseError, DONE),
    "busy, refused": Sequence([BUSY, f.answers(400)], BadRequestError, NO),
    "busy, much later": Sequence([BUSY, MUCH_LATER], RateLimitError, NO),
    "busy, busy, busy": Sequence([BUSY] * 3, RateLimitError, NO),
    "busy, busy, lost": Sequence([BUSY, BUSY, f.drops], TransportError, MAYBE),
}


def with_sequences(sequences: dict[str, Sequence]) -> pytest.MarkDecorator:
    """Run a test with each of the sequences."""
    return pytest.mark.parametrize("sequence", sequences.values(), ids=sequences.keys())


async def check(
    server: FaultServer, client: JunkieClient, operation: Operation, sequence: Sequence
) -> None:
    """Meet all the faults of a sequence, and send no other request."""
    server.script.extend(sequence.faults)
    if sequence.error is None:
        await operation.call(client)
    else:
        with pytest.raises(JunkieError) as caught:
            await operation.call(client)
        attempts = len(sequence.faults)
        check_failure(caught.value, operation, sequence.error, sequence.outcome, attempts)
        assert sequence.outcome is not NO or not server.commits
    assert len(server.arrivals) == len(sequence.faults)


@with_each(IDEMPOTENT)
@with_sequences(OF_IDEMPOTENT)
async def test_idempotent_calls(
    server: FaultServer, client: JunkieClient, operation: Operation, sequence: Sequence
) -> None:
    """The last fault is raised; it is NOT_EXECUTED only if no attempt can have acted."""
    await check(server, client, operation, sequence)


@with_each(NON_IDEMPOTENT)
@with_sequences(OF_NON_IDEMPOTENT)
async def test_non_idempotent_calls(
    server: FaultServer, client: JunkieClient, operation: Operation, sequence: Sequence
) -> None:
    """A create is retried as long as it was provably not carried out."""
    await check(server, client, operation, sequence)


LOST = [f.closes_unread, f.drops, f.commits_and_drops, f.commits_and_resets, f.ends(f.half_a_body)]


@pytest.mark.parametrize("fault", [*LOST, f.answers(504), CUT_GZIP])
async def test_a_delete_whose_response_was_lost_succeeds(
    server: FaultServer, client: JunkieClient, fault: Fault
) -> None:
    """404 on the retry of a DELETE whose response was lost is a success."""
    server.script.extend([fault, f.answers(404)])
    await client.keys.delete(1)
    assert len(server.arrivals) == 2


@pytest.mark.parametrize("between", [BUSY, REFUSED_AT_THE_DOOR, f.drops])
async def test_a_delete_remembers_its_first_try(
    server: FaultServer, client: JunkieClient, between: Fault
) -> None:
    """A fault between the lost response and the 404 changes nothing."""
    server.script.extend([f.commits_and_drops, between, HEALTHY])
    await client.keys.delete(1)
    assert (len(server.arrivals), server.commits, server.world.names) == (3, 1, {2: "two"})


@pytest.mark.parametrize("fault", [BUSY, REFUSED_AT_THE_DOOR])
async def test_a_404_after_a_refused_delete_is_a_404(
    server: FaultServer, client: JunkieClient, fault: Fault
) -> None:
    """404 after a 429 is a 404: the first try did nothing."""
    server.script.extend([fault, f.answers(404)])
    with pytest.raises(NotFoundError) as caught:
        await client.keys.delete(1)
    check_failure(caught.value, BY_NAME["delete"], NotFoundError, NO, 2)


@with_each([operation for operation in IDEMPOTENT if operation.name != "delete"])
async def test_a_404_after_a_lost_response_is_a_404(
    server: FaultServer, client: JunkieClient, operation: Operation
) -> None:
    """Only for DELETE a 404 means that it was carried out."""
    server.script.extend([f.drops, f.answers(404)])
    with pytest.raises(NotFoundError) as caught:
        await operation.call(client)
    check_failure(caught.value, operation, NotFoundError, MAYBE, 2)


async def test_html_is_retried_once(server: FaultServer, client: JunkieClient) -> None:
    """HTML and broken JSON count together: after one of each there is no third request."""
    server.script.extend([HTML, f.commits_but_says(b'{"key": ')])
    with pytest.raises(InvalidResponseError) as caught:
        await client.keys.get(1)
    check_failure(caught.value, BY_NAME["get"], InvalidResponseError, MAYBE, 2)


async def test_an_outage_does_not_multiply_the_load() -> None:
    """All calls of a client share one budget of a hundred retries, and then fail."""
    async with FaultServer(strict=False) as server, connect(server) as client:
        server.default = lambda: DOWN
        async with asyncio.timeout(30):
            for count in range(100):
                with pytest.raises(ServerError):
                    await IDEMPOTENT[count % 6].call(client)
        assert len(server.arrivals) == 100 + 100
