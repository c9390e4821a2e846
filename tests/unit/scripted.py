"""A transport that plays a script, and a dispatcher over it: no socket, no real clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from junkie_async import Hooks, JunkieClient, JunkieError, RetryPolicy
from junkie_async._http.dispatcher import Dispatcher
from junkie_async._http.send_state import SendState
from junkie_async._http.transport import Response, Transport
from junkie_async._protocol import requests

FOLDERS = requests.list_folders()
CREATE = requests.create_key({"provider_id": 1})
GOOD: Response = (200, {}, b'{"folders": []}')
STEADY = RetryPolicy(wait_initial=1.0, wait_jitter=0.0)

Step = Response | JunkieError | Callable[[], Coroutine[None, None, Response]]


class Script(Transport):
    """A transport that plays a script; after its last step every response is good.

    Args:
        steps: A response, an error to raise, or a function to await for a response.
    """

    def __init__(self, *steps: Step) -> None:
        super().__init__(base_url="http://127.0.0.1", timeout=30.0, session=None)
        self.steps = list(steps)
        self.began: list[tuple[float, float]] = []
        self.timeouts: list[float | None] = []
        self.api_keys: list[str] = []

    async def attempt(
        self, request: requests.Request[object], state: SendState, left: float
    ) -> Response:
        """Play the next step, and note when it began and how many seconds were left."""
        self.began.append((round(now(), 3), round(left, 3)))
        self.timeouts.append(state.timeout)
        assert state.api_key is not None
        self.api_keys.append(state.api_key.value)
        step = self.steps.pop(0) if self.steps else GOOD
        if isinstance(step, JunkieError):
            raise step
        return step if isinstance(step, tuple) else await step()


def now() -> float:
    """Return the loop's time, which begins at 1000."""
    return asyncio.get_running_loop().time()


def make_dispatcher(
    transport: Transport,
    retry: RetryPolicy = STEADY,
    max_in_flight: int = 4,
    hooks: Sequence[Hooks] = (),
) -> Dispatcher:
    """Make a dispatcher over a script."""
    return Dispatcher(
        transport,
        api_key="secret",
        retry=retry,
        max_in_flight=max_in_flight,
        rate_limit=None,
        hooks=hooks,
    )


def make_client(transport: Transport, api_key: Any = "secret", **options: Any) -> JunkieClient:
    """Make a client over a script."""
    client = JunkieClient(api_key, base_url="http://127.0.0.1", **options)
    client._dispatcher._transport = transport
    return client


async def hang() -> Response:
    """Never answer."""
    await asyncio.Event().wait()
    return GOOD


def delayed(
    seconds: float, response: Response = GOOD
) -> Callable[[], Coroutine[None, None, Response]]:
    """Make a step that answers after a while."""

    async def step() -> Response:
        await asyncio.sleep(seconds)
        return response

    return step
