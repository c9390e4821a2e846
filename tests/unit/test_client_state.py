"""What a client's calls learn for all that come after them, on a virtual clock."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

import pytest
from multidict import CIMultiDict

from junkie_async import (
    APIError,
    Hooks,
    PauseEvent,
    RateLimit,
    RateLimitError,
    RetryPolicy,
)
from junkie_async._http.transport import Response
from junkie_async._protocol import requests

from .clock import VirtualLoop, run
from .scripted import FOLDERS, GOOD, STEADY, Script, make_client, make_dispatcher, now
from .test_api_key import Stores

KEY: Response = (200, {}, b'{"key": {"id": 1, "key_value": "JNK"}}')
PAGE: Mapping[str, str] = CIMultiDict({"Content-Type": "text/html"})


class Watch(Hooks):
    """Keeps the pauses."""

    def __init__(self) -> None:
        self.pauses: list[PauseEvent] = []

    def on_pause(self, event: PauseEvent) -> None:
        """Keep it."""
        self.pauses.append(event)


def moments(script: Script) -> list[float]:
    """Return when the requests were sent, to a tenth of a second."""
    return [round(at, 1) for at, _ in script.began]


def test_the_callers_own_limit_holds() -> None:
    """Three calls at one request in five seconds."""

    async def main() -> None:
        script = Script()
        client = make_client(script, rate_limit=RateLimit(1, per=5.0))
        await asyncio.gather(*(client.keys.folders() for _ in range(3)))
        assert moments(script) == [1000, 1005, 1010]

    run(main())


@pytest.mark.parametrize(("stated", "waited"), [("5", 5), ("60", 10)])
def test_a_used_up_limit_is_believed_up_to_the_cap(stated: str, waited: float) -> None:
    """The next call waits for the reset that a good response states, or for the policy's cap."""

    async def main() -> None:
        headers = CIMultiDict({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": stated})
        script = Script((200, headers, GOOD[2]))
        dispatcher = make_dispatcher(script, RetryPolicy(retry_after_cap=10.0))
        for _ in range(2):
            await dispatcher.send(FOLDERS)
        assert moments(script) == [1000, 1000 + waited]

    run(main())


def test_a_wait_of_exactly_the_cap_is_waited_out() -> None:
    """`retry_after_cap` is the longest wait that is honoured, not the first that is not."""

    async def main() -> None:
        script = Script((429, CIMultiDict({"Retry-After": "7"}), b""))
        await make_dispatcher(script, RetryPolicy(retry_after_cap=7.0)).send(FOLDERS)
        assert moments(script) == [1000, 1007]

    run(main())


@pytest.mark.parametrize(
    ("responses", "seconds", "from_server"),
    [
        ([(429, CIMultiDict({"Retry-After": "7"}), b"")], 7.0, True),
        ([(429, CIMultiDict(), b"")], 1.0, False),
        ([(429, PAGE, b"<html>slow down</html>")], 1.0, False),
        ([(403, PAGE, b"<html>1</html>"), (403, PAGE, b"<html>2</html>")], 1.0, False),
    ],
    ids=["stated", "unstated", "page", "challenges"],
)
def test_what_hooks_are_told_of_a_pause(
    responses: list[Response], seconds: float, from_server: bool
) -> None:
    """How long it is and whether the service said so; no 429 counts as a challenge, a page or not.

    A challenge of one call pauses nobody, and lowers no ceiling.
    """

    async def main() -> None:
        watch = Watch()
        dispatcher = make_dispatcher(Script(*responses, KEY), STEADY, 4, [watch])
        for number in range(len(responses)):
            assert watch.pauses == []
            with contextlib.suppress(APIError):  # pages are not waited out
                await dispatcher.send(requests.get_key(str(number + 1)))
        assert [(one.seconds, one.from_server) for one in watch.pauses] == [(seconds, from_server)]
        assert watch.pauses[0].ceiling == (4 if len(responses) > 1 else 1)

    run(main())


@pytest.mark.parametrize(("later", "waited"), [(0.0, 60), (-500.0, 0)])
def test_a_pause_in_the_next_event_loop(later: float, waited: float) -> None:
    """It goes on by the same clock. By an earlier one it would last too long: none is left."""
    script = Script((429, CIMultiDict({"Retry-After": "60"}), b""))
    client = make_client(script, retry=RetryPolicy(attempts=1, deadline=100.0))
    with pytest.raises(RateLimitError):
        run(_await(client.keys.folders()))

    def make_loop() -> VirtualLoop:
        loop = VirtualLoop()
        loop.now += later
        return loop

    async def main() -> float:
        begin = now()
        await client.keys.folders()
        return now() - begin

    with asyncio.Runner(loop_factory=make_loop) as runner:
        assert runner.run(main()) == pytest.approx(waited, abs=0.1)


def test_a_shared_rate_in_an_event_loop_of_an_earlier_clock() -> None:
    """The slots come from the same store as before."""
    stores, script = Stores(), Script()
    client = make_client(script, "key", throttle=stores)

    async def main(later: float) -> None:
        await asyncio.sleep(later)
        await client.keys.folders()

    for later, reserved in ((500.0, 1), (0.0, 2)):
        run(main(later))
        store = stores.opened["key"]
        assert store.number == reserved
        store.next = 0.0  # Redis has a clock of its own


def test_the_time_of_the_service_goes_on() -> None:
    """It is that of the latest response and the time since; a response without one forgets it."""

    async def main() -> None:
        headers = CIMultiDict({"Date": "Mon, 01 Jun 2026 10:00:00 GMT"})
        script = Script((404, headers, b"{}"))
        dispatcher = make_dispatcher(script)
        with pytest.raises(APIError):
            await dispatcher.send(FOLDERS)
        await asyncio.sleep(90)
        assert dispatcher.service_time().isoformat()[:19] == "2026-06-01T10:01:30"
        await dispatcher.send(FOLDERS)
        assert dispatcher.service_time().isoformat()[:19] != "2026-06-01T10:01:30"

    run(main())


async def _await(call: Any) -> Any:
    return await call
