"""A closed client, or one in another event loop, raises in new calls and in waiting ones."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import pytest

from junkie_async import (
    ClientClosedError,
    ConnectError,
    JunkieClient,
    JunkieError,
    Outcome,
    OutcomeUnknownError,
    RetryPolicy,
)

from .faults import answers, commits_and_drops, hangs, run_loop
from .operations import (
    BY_NAME,
    IDEMPOTENT,
    LONG_WAITS,
    NON_IDEMPOTENT,
    OPERATIONS,
    SAMPLES,
    Operation,
    calm,
    check_failure,
    client_of,
    connect,
    with_each,
)
from .server import HEALTHY, Exchange, Fault, FaultServer

NO, MAYBE = Outcome.NOT_EXECUTED, Outcome.UNKNOWN


@with_each(OPERATIONS)
async def test_a_closed_client_says_so(server: FaultServer, operation: Operation) -> None:
    """After `close`, calls raise without a request; closing again does no harm."""
    async with calm(server):
        client = client_of(server.url)
        server.script.append(HEALTHY)
        await client.keys.folders()
        await asyncio.gather(client.close(), client.close())
        await client.close()
        assert client.closed
        with pytest.raises(ClientClosedError) as caught:
            await operation.call(client)
    check_failure(caught.value, operation, ClientClosedError, NO, 0)


@with_each(SAMPLES)
async def test_a_client_closed_before_its_first_call(operation: Operation) -> None:
    """A client that was never used can be closed, and calls raise afterwards."""
    async with calm():
        client = client_of("http://127.0.0.1:9")
        await client.close()
        with pytest.raises(ClientClosedError) as caught:
            await operation.call(client)
    check_failure(caught.value, operation, ClientClosedError, NO, 0)


@with_each(SAMPLES)
async def test_a_given_session_that_is_closed(server: FaultServer, operation: Operation) -> None:
    """A closed session of the caller's raises before anything is sent."""
    async with aiohttp.ClientSession() as session:
        client = client_of(server.url, session=session)
    with pytest.raises(ClientClosedError) as caught:
        await operation.call(client)
    check_failure(caught.value, operation, ClientClosedError, NO, 0)


@with_each(SAMPLES)
async def test_a_client_in_a_second_event_loop(operation: Operation) -> None:
    """It raises instead of hanging, as long as the first one is not closed."""
    client = client_of("http://127.0.0.1:9")

    async def call(error: type[JunkieError], attempts: int) -> None:
        with pytest.raises(error) as caught:
            await operation.call(client)
        check_failure(caught.value, operation, error, NO, attempts)

    await call(ConnectError, 3)
    await asyncio.to_thread(asyncio.run, call(ClientClosedError, 0))
    await client.close()


@pytest.mark.parametrize("given", [False, True], ids=["own", "given"])
@with_each(SAMPLES)
async def test_closing_ends_calls_that_wait_for_a_slot(
    server: FaultServer, operation: Operation, *, given: bool
) -> None:
    """A call that has no slot yet when the client is closed is not sent."""
    server.script.append(hangs)
    async with calm(server), aiohttp.ClientSession() as session:
        client = client_of(
            server.url,
            max_in_flight=1,
            retry=RetryPolicy(attempts=1),
            session=session if given else None,
        )
        first = asyncio.ensure_future(client.keys.get(2))
        while not server.arrivals:
            await asyncio.sleep(0)
        waiting = [asyncio.ensure_future(operation.call(client)) for _ in range(2)]
        await run_loop()
        await client.close()
        first.cancel()
        async with asyncio.timeout(5):
            ended = await asyncio.gather(first, *waiting, return_exceptions=True)
    for error in ended[1:]:
        assert isinstance(error, JunkieError)
        check_failure(error, operation, ClientClosedError, NO, 0)
    assert len(server.arrivals) == 1


async def close_while_asleep(
    server: FaultServer, operation: Operation, fault: Fault, attempts: int = 1
) -> JunkieError:
    """Close a client whose call waits after that many attempts; return that call's error."""
    server.script += [fault] * attempts
    async with connect(server, retry=LONG_WAITS) as client:
        call = asyncio.ensure_future(operation.call(client))
        while len(server.arrivals) < attempts:
            await asyncio.sleep(0)
        await run_loop()
        await client.close()
        done, _ = await asyncio.wait([call], timeout=1.0)  # immediately, or not for ten minutes
        if not done:
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
    assert done, "the call sleeps on in a closed client"
    error = call.exception()
    assert isinstance(error, JunkieError)
    assert len(server.arrivals) == attempts
    return error


@with_each(OPERATIONS)
@pytest.mark.parametrize(
    "fault",
    [answers(429, retry_after="100"), answers(429), answers(503, retry_after="100")],
    ids=["429_seconds", "429", "503_seconds"],
)
async def test_closing_ends_calls_in_a_pause(
    server: FaultServer, operation: Operation, fault: Fault
) -> None:
    """A call that sleeps after a 429 ends when the client is closed: it was not carried out."""
    error = await close_while_asleep(server, operation, fault)
    check_failure(error, operation, ClientClosedError, NO, 1)


@with_each(IDEMPOTENT)
@pytest.mark.parametrize(
    ("fault", "attempts"),
    [(answers(500), 1), (commits_and_drops, 2)],  # the first retry of a lost one does not wait
    ids=["500", "lost"],
)
async def test_closing_ends_calls_between_attempts(
    server: FaultServer, operation: Operation, fault: Fault, attempts: int
) -> None:
    """A call that waits for its next attempt ends, and an earlier one may have acted."""
    error = await close_while_asleep(server, operation, fault, attempts)
    check_failure(error, operation, ClientClosedError, MAYBE, attempts)


async def close_in_flight(server: FaultServer, operation: Operation) -> JunkieError:
    """Close the client while the server has the request; return the call's error."""
    async with connect(server) as client:

        async def play(exchange: Exchange) -> None:
            await client.close()
            await exchange.connection.hung_up()

        server.script.append(Fault(play, commits=True))
        async with asyncio.timeout(5):
            with pytest.raises(JunkieError) as caught:
                await operation.call(client)
    assert (len(server.arrivals), server.commits) == (1, 1)
    return caught.value


@with_each(IDEMPOTENT)
async def test_closing_ends_idempotent_calls_in_flight(
    server: FaultServer, operation: Operation
) -> None:
    """A call that is in flight when the client is closed raises, and may have acted."""
    error = await close_in_flight(server, operation)
    check_failure(error, operation, ClientClosedError, MAYBE, 1)


@with_each(NON_IDEMPOTENT)
async def test_closing_ends_non_idempotent_calls_in_flight(
    server: FaultServer, operation: Operation
) -> None:
    """A create that is in flight when the client is closed may have been carried out."""
    error = await close_in_flight(server, operation)
    assert (type(error), error.outcome, error.attempts) == (OutcomeUnknownError, MAYBE, 1)
    assert isinstance(error.__cause__, JunkieError)


@with_each(NON_IDEMPOTENT)
async def test_closing_ends_non_idempotent_calls_that_connect(
    server: FaultServer, operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A create without a connection when the client is closed was provably not sent."""
    loop, begun, goes_on = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    connects = loop.sock_connect

    async def wait_first(sock: socket.socket, address: Any) -> None:
        begun.set()
        await goes_on.wait()
        await connects(sock, address)

    monkeypatch.setattr(loop, "sock_connect", wait_first)
    async with connect(server) as client:
        call = asyncio.ensure_future(operation.call(client))
        await begun.wait()
        await client.close()
        goes_on.set()
        async with asyncio.timeout(5):
            with pytest.raises(JunkieError) as caught:
                await call
    check_failure(caught.value, operation, ClientClosedError, NO, 1)
    assert not server.arrivals


async def test_a_closing_that_is_cancelled_can_be_finished(server: FaultServer) -> None:
    """The next `close` finishes one that was cancelled."""
    server.script.append(HEALTHY)
    async with calm(server):
        client = client_of(server.url)
        await client.keys.get(1)
        closing = asyncio.ensure_future(client.close())
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        await client.close()


async def test_leaving_the_client_on_an_error_closes_it(server: FaultServer) -> None:
    """An error inside `async with` leaves nothing open."""
    server.script.append(answers(404))
    async with calm(server):
        with pytest.raises(JunkieError) as caught:
            async with client_of(server.url) as client:
                await client.keys.get(1)
    assert client.closed
    assert caught.value.method == BY_NAME["get"].method


def test_a_client_never_used_needs_no_loop() -> None:
    """A client can be created outside of an event loop, and need not be closed if unused."""
    assert not JunkieClient("secret", base_url="http://127.0.0.1:9").closed
