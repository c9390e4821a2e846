"""A virtual clock: an event loop whose time passes only while every task waits."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _VirtualSelector(selectors.SelectSelector):
    """Advances the loop's clock to the next timer, instead of waiting for it."""

    def __init__(self, loop: VirtualLoop, grace: float) -> None:
        super().__init__()
        self._loop = loop
        self._grace = grace

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        # The kernel may deliver between two sockets a moment later, so they get a moment.
        ready = super().select(self._grace if timeout is None else min(timeout, self._grace))
        assert ready or timeout is not None or self._grace, "every task waits for another"
        if not ready and timeout:
            self._loop.now += timeout
        self._loop.now += 1e-9  # a real clock advances between two readings, too
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock begins at 1000 s and jumps to the next timer.

    Args:
        grace: Real seconds to wait for sockets before each jump; 0 without sockets.
    """

    def __init__(self, grace: float = 0.0) -> None:
        self.now = 1000.0
        super().__init__(_VirtualSelector(self, grace))

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self.now

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Wait for the executor's threads; asyncio's 300 s for that would be over at once."""
        await super().shutdown_default_executor()


def run(main: Coroutine[Any, Any, T], *, grace: float = 0.0) -> T:
    """Run a coroutine on a virtual clock of its own."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(grace)) as runner:
        return runner.run(main)
