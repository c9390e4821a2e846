"""An outage: the walks and jobs that wait for the service, and probe it one at a time."""

from __future__ import annotations

import asyncio
import math
from typing import Final

import attrs

MIN_PROBE_WAIT: Final = 1.0
"""Seconds between two probes at least: a policy without waits must not send thousands."""

# Where a third of the requests fails at random, that happens once in 60,000. In an outage, all
# workers of a job would make all their attempts before the first of them waits.
DOWN_AFTER: Final = 10
"""Failures in a row, of all calls, after which walks and jobs wait without further attempts."""


@attrs.define(eq=False)
class Outage:
    """The state of one endpoint that fails for longer than a call's attempts take.

    All workers of a job fail within a moment. If each of them went on alone, they would multiply
    the load on a service that is failing. So one call is sent at a time, after a back-off.
    """

    failures: int = 0
    next_probe_at: float = -math.inf
    is_over: bool = False
    _probe: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False)

    def record_failure(self, now: float, wait: float) -> None:
        """Let the next probe wait."""
        self.failures += 1
        self.next_probe_at = now + wait

    async def begin_probe(self, deadline: float) -> bool:
        """Wait until no other call probes. False if that took until the deadline."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._probe.acquire()
        except TimeoutError:
            return False
        return True

    def end_probe(self) -> None:
        """Let the next call probe, or learn that the outage is over."""
        self._probe.release()
