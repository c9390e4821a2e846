"""The network between clients and the service: it delays, loses, duplicates, reorders and cuts."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from random import Random
from typing import Any, Final

import aiohttp
import attrs
from multidict import CIMultiDict

from junkie_async import ConnectError, JunkieError
from junkie_async._http.aiohttp_errors import translate_error
from junkie_async._http.send_state import SendState
from junkie_async._http.transport import Response
from junkie_async._protocol.requests import Request

from .event_loop import Process, SimulatedLoop, current_process
from .service import Reply, Service

_HANGS: Final = 1e9
"""Seconds after which nobody waits any more."""


@attrs.frozen
class Weather:
    """Probabilities, for each request, of what the network does; delays are in seconds.

    Attributes:
        delay: Of a message, the least and the most.
        no_connection: The request is not sent.
        lost: The request, or its response, is lost, and the connection is reset.
        hang: One of them is lost, and nothing tells the client.
        slow: A message takes up to ``slow_delay``.
        duplicated: The service gets the request twice, the second time later.
    """

    delay: tuple[float, float] = (0.005, 0.05)
    no_connection: float = 0.0
    lost: float = 0.0
    hang: float = 0.0
    slow: float = 0.0
    slow_delay: float = 2.0
    duplicated: float = 0.0


CALM: Final = Weather()


class Network:
    """Carries requests to a service, and responses back."""

    def __init__(self, loop: SimulatedLoop, dice: Random, service: Service) -> None:
        self.loop, self.dice, self.service = loop, dice, service
        self.weather = CALM
        self.in_flight: Counter[str] = Counter()
        """Requests that each process has in flight, by its name."""
        self.most_in_flight: Counter[str] = Counter()
        self.begun_at: defaultdict[str, list[float]] = defaultdict(list)
        """When each process has begun an attempt, by its name."""
        self.attempts: list[tuple[float, tuple[str, bytes | None], SendState]] = []
        """When each attempt has begun, what its request says, and whether that was sent."""
        self.pauses: list[tuple[float, float]] = []
        """When a 429 came, and for how many seconds it asks its client to pause."""
        self.duplicates = 0
        """Requests that the service has got twice."""
        self.on_send: Callable[[Process, str], None] = lambda *_: None
        """Called with the process and the method of each request that is sent."""
        self._waiting: set[asyncio.Future[Reply | None]] = set()

    async def exchange(
        self, request: Request[object], state: SendState, seconds: float
    ) -> Response:
        """Send a request, and wait for its response."""
        process = current_process()
        name = process.name if process is not None else ""
        self.in_flight[name] += 1
        self.most_in_flight[name] = max(self.most_in_flight[name], self.in_flight[name])
        self.begun_at[name].append(self.loop.time())
        self.attempts.append((self.loop.time(), (request.target, request.body), state))
        try:
            async with asyncio.timeout(seconds):
                return await self._exchange(request, state)
        except TimeoutError as error:
            failure = translate_error(error, sent=state.sent)
        except aiohttp.ClientError as error:
            failure = translate_error(error, sent=state.sent)
        finally:
            self.in_flight[name] -= 1
        raise failure

    async def _exchange(self, request: Request[object], state: SendState) -> Response:
        await asyncio.sleep(self._delay())
        if self._happens(self.weather.no_connection):
            raise ConnectError("could not connect")
        if request.body is not None and state._before_send is not None:
            state._before_send()
        state.sent = True
        if (process := current_process()) is not None:
            self.on_send(process, request.method)
        response: asyncio.Future[Reply | None] = asyncio.Future()
        self._waiting.add(response)
        response.add_done_callback(self._waiting.discard)
        self._send(request, response)
        reply = await response
        if reply is None:
            raise aiohttp.ServerDisconnectedError
        status, headers, body = reply
        if status == 429:
            self.pauses.append((self.loop.time(), float(headers.get("Retry-After", 0.0))))
        return status, CIMultiDict(headers), body

    def cut(self) -> None:
        """Reset all connections, as a service does that is restarted."""
        for response in self._waiting:
            self.loop.add_event(0.0, _set_result, response, None)

    def _send(self, request: Request[object], response: asyncio.Future[Reply | None]) -> None:
        weather, delay = self.weather, self._delay()
        if self._happens(weather.lost / 2):
            self.loop.add_event(delay, _set_result, response, None)
        elif self._happens(weather.duplicated):
            self.duplicates += 1
            # Of two answers the client gets the first, or for a creation none: see `Service`.
            first = response if request.idempotent else None
            self.loop.add_event(delay, self._arrive, request, first)
            self.loop.add_event(delay + self._delay(), self._arrive, request, None)
        elif not self._happens(weather.hang / 2):
            self.loop.add_event(delay, self._arrive, request, response)

    def _arrive(
        self, request: Request[object], response: asyncio.Future[Reply | None] | None
    ) -> None:
        reply: Reply | None = self.service.handle(request.method, request.target, request.body)
        if response is None or self._happens(self.weather.hang / 2):
            return
        if self._happens(self.weather.lost / 2):
            reply = None
        self.loop.add_event(self._delay(), _set_result, response, reply)

    def _delay(self) -> float:
        if self._happens(self.weather.slow):
            return self.dice.uniform(0.0, self.weather.slow_delay)
        return self.dice.uniform(*self.weather.delay)

    def _happens(self, probability: float) -> bool:
        return probability > 0 and self.dice.random() < probability


class SimulatedTransport:
    """Stands in for `junkie_async._http.transport.Transport`: one attempt over the network."""

    network: Network

    def __init__(self, *, base_url: str, timeout: float, **_: Any) -> None:
        self.base_url = base_url
        self.max_seconds = timeout

    def authorize(self, api_key: str) -> None:
        """Do nothing: the service takes every API key."""

    def check_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do nothing: there is no session of somebody else."""

    async def enter_loop(self) -> None:
        """Do nothing: there are no connections."""

    async def close(self) -> None:
        """Do nothing, likewise."""

    async def attempt(self, request: Request[object], state: SendState, left: float) -> Response:
        """Send one request, and wait for its response."""
        longest = self.max_seconds if state.timeout is None else state.timeout
        return await self.network.exchange(request, state, min(left, longest))


def _set_result(future: asyncio.Future[Any], result: object) -> None:
    if not future.done():
        future.set_result(result)


def is_error(result: object) -> bool:
    """Whether a call has raised an error of the package."""
    return isinstance(result, JunkieError)
