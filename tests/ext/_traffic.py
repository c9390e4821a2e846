"""Traffic that gives hooks every event: a real client over the emulator, with tiny waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from junkie_async import AttemptEvent, Hooks, JunkieClient, RetryPolicy
from junkie_async.emulator import Emulator, Faults

KEY_VALUE = "JNK-q7w3z9k2m5x8"
QUICK = RetryPolicy(wait_initial=0.001, wait_jitter=0.0, wait_max=0.01)
FAILS = Faults(error_rate=1, error_status=503)
REFUSES = Faults(throttle_rate=1, retry_after=None)  # how long to pause is then the policy's


class Mend(Hooks):
    """Ends the emulator's faults with the first attempt that has met them."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def on_attempt(self, event: AttemptEvent) -> None:
        """End them."""
        self._emulator.faults = None


@asynccontextmanager
async def traffic(*hooks: Hooks) -> AsyncIterator[tuple[JunkieClient, Emulator]]:
    """Run an emulator with a key, and a client with hooks; faults last for one attempt."""
    async with Emulator() as emulator:
        await emulator.seed(1, key_value=KEY_VALUE)
        every = [Mend(emulator), *hooks]
        async with JunkieClient(
            "secret", base_url=emulator.url, retry=QUICK, hooks=every
        ) as junkie:
            yield junkie, emulator


async def everything(*hooks: Hooks) -> None:
    """Make a call that fails at first, one that is refused at first, and two jobs."""
    async with traffic(*hooks) as (junkie, emulator):
        emulator.faults = FAILS
        await junkie.keys.get(KEY_VALUE)
        emulator.faults = REFUSES
        await junkie.keys.get(KEY_VALUE)
        report = await junkie.keys.create_many(150, provider_id=1, concurrency=1)
        await junkie.keys.delete_many([KEY_VALUE, *report.keys])


EVERYTHING = [
    *("attempt", "retry", "attempt"),
    *("attempt", "pause", "retry", "attempt"),
    *(("attempt", "job") * 3),
]
"""The events that it gives, in order."""
