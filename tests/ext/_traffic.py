"""Traffic that causes every event of hooks: a real client and the emulator, with short waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from junkie_async import AttemptEvent, Hooks, JunkieClient, RetryPolicy
from junkie_async.emulator import Emulator, Faults

KEY_VALUE = "JNK-q7w3z9k2m5x8"
QUICK = RetryPolicy(wait_initial=0.001, wait_jitter=0.0, wait_max=0.01)
FAILS = Faults(error_rate=1, error_status=503)
THROTTLES = Faults(throttle_rate=1, retry_after=None)  # the retry policy sets the pause


class FaultsOff(Hooks):
    """Switches the emulator's faults off after the first attempt."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def on_attempt(self, event: AttemptEvent) -> None:
        """Switch them off."""
        self._emulator.faults = None


@asynccontextmanager
async def traffic(*hooks: Hooks) -> AsyncIterator[tuple[JunkieClient, Emulator]]:
    """Run an emulator with a key, and a client with hooks. Faults last for one attempt."""
    async with Emulator() as emulator:
        await emulator.seed(1, key_value=KEY_VALUE)
        all_hooks = [FaultsOff(emulator), *hooks]
        async with JunkieClient(
            "secret", base_url=emulator.url, retry=QUICK, hooks=all_hooks
        ) as junkie:
            yield junkie, emulator


async def cause_all_events(*hooks: Hooks) -> None:
    """Make a call that fails once, one that is rate limited once, and two jobs."""
    async with traffic(*hooks) as (junkie, emulator):
        emulator.faults = FAILS
        await junkie.keys.get(KEY_VALUE)
        emulator.faults = THROTTLES
        await junkie.keys.get(KEY_VALUE)
        report = await junkie.keys.create_many(150, provider_id=1, concurrency=1)
        await junkie.keys.delete_many([KEY_VALUE, *report.keys])


EVENTS = [
    *("attempt", "retry", "attempt"),
    *("attempt", "pause", "retry", "attempt"),
    *(("attempt", "job") * 3),
]
"""The events of `cause_all_events`, in order."""
