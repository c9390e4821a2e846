"""No redirect is followed, wherever it points: it would take the API key along."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from junkie_async import InvalidResponseError, JunkieClient, JunkieError, Outcome

from .faults import answers
from .operations import OPERATIONS, Operation, check_failure, with_each
from .server import Exchange, Fault, FaultServer

STATUSES = [301, 302, 303, 307, 308]
# From the server's URL, the trap's `host:port` and the path that was asked for.
TARGETS: dict[str, Callable[[str, str, str], str | None]] = {
    "other_port": lambda _, trap, path: f"http://{trap}{path}",
    "other_path": lambda url, _, __: f"{url}/keys/folders",
    "relative": lambda _, __, ___: "/keys/folders",
    "scheme_relative": lambda _, trap, path: f"//{trap}{path}",
    "https": lambda _, trap, path: f"https://{trap}{path}",
    "userinfo": lambda _, trap, path: f"http://user:password@{trap}{path}",
    "garbage": lambda _, __, ___: "http://[::bad/%zz",
    "missing": lambda _, __, ___: None,
}


@pytest.fixture
async def trap() -> AsyncIterator[FaultServer]:
    """A server that must not be connected to."""
    async with FaultServer() as trap:
        yield trap
    assert trap.connections == 0


def points(status: int, target: Callable[[str, str, str], str | None], trap: FaultServer) -> Fault:
    """Answer with this redirect."""

    async def play(exchange: Exchange) -> None:
        url = f"http://{exchange.headers['host']}"
        location = target(url, trap.url.removeprefix("http://"), exchange.target)
        headers = {} if location is None else {"location": location}
        await answers(status, b"moved", **headers).play(exchange)

    return Fault(play)


@with_each(OPERATIONS)
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
@pytest.mark.parametrize("status", STATUSES)
async def test_redirects_are_not_followed(
    server: FaultServer,
    client: JunkieClient,
    trap: FaultServer,
    operation: Operation,
    target: Callable[[str, str, str], str | None],
    status: int,
) -> None:
    """A redirect is an error after one request; the trap gets no connection."""
    server.script.append(points(status, target, trap))
    with pytest.raises(JunkieError) as caught:
        await operation.call(client)
    what = check_failure(caught.value, operation, InvalidResponseError, Outcome.UNKNOWN, 1)
    assert isinstance(what, InvalidResponseError)
    assert (what.status, what.transient) == (status, False)
    assert [exchange.operation for exchange in server.requests] == [operation.name]
    assert (server.connections, trap.connections) == (1, 0)


@with_each(OPERATIONS)
async def test_a_redirect_raises_before_its_body(
    server: FaultServer, client: JunkieClient, operation: Operation
) -> None:
    """The body of a redirect is not read: its connection is closed."""

    async def play(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 307 Moved\r\nLocation: /\r\nContent-Length: 99\r\n\r\n")
        await exchange.connection.hung_up()

    server.script.append(Fault(play))
    async with asyncio.timeout(5):  # half of the client's own
        with pytest.raises(JunkieError) as caught:
            await operation.call(client)
        await server.wait_until_closed()
    check_failure(caught.value, operation, InvalidResponseError, Outcome.UNKNOWN, 1)
    assert len(server.arrivals) == 1
