"""The client on uvloop, which is supported and never required."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from pathlib import Path

import pytest

from junkie_async import ConnectError, JunkieClient, OutcomeUnknownError, RetryPolicy
from junkie_async.emulator import Emulator, Faults

from ..proxies import HANG, make_ca, open_shop, refuse

uvloop = pytest.importorskip("uvloop")  # there is none for Windows
NO_RETRY = RetryPolicy(attempts=1)


def run(main: Coroutine[None, None, None]) -> None:
    """Run a coroutine on a uvloop event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def test_jobs_and_walks() -> None:
    """Jobs and walks work as on asyncio's own loop."""

    async def main() -> None:
        async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as junkie:
            report = await junkie.keys.create_many(2_345, provider_id=1)
            keys = [key async for key in junkie.keys.list()]
            assert sorted(key.key_value for key in keys) == sorted(report.keys)
            deleted = await junkie.keys.delete_many(keys)
            assert (deleted.deleted, await junkie.keys.list().count()) == (2_345, 0)

    run(main())


def test_errors_have_the_same_classes() -> None:
    """Uvloop's errors become ours: a refused connection, a hang-up after a create."""

    async def main() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))  # bound, but not listening
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
            async with JunkieClient("any", base_url=url, retry=NO_RETRY) as junkie:
                with pytest.raises(ConnectError):
                    await junkie.keys.folders()
        faults = Faults(drop_after_rate=1.0)
        async with (
            Emulator(faults=faults) as emulator,
            JunkieClient("any", base_url=emulator.url, retry=NO_RETRY) as junkie,
        ):
            with pytest.raises(OutcomeUnknownError):
                await junkie.keys.create(provider_id=1)

    run(main())


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_through_a_proxy(scheme: str, tmp_path: Path) -> None:
    """A service with a private CA is reached, also over TLS within TLS; a refusal sends nothing."""

    async def main() -> None:
        async with open_shop(make_ca(tmp_path), scheme) as shop, shop.connect() as junkie:
            key = await junkie.keys.create(provider_id=1)
            assert (await junkie.keys.get(key.id)).key_value == key.key_value
            await junkie.close()
            for refusal in (refuse(407), HANG):
                shop.proxy.refusal = refusal
                async with shop.connect(retry=NO_RETRY, timeout=0.2) as refused:
                    with pytest.raises(ConnectError):
                        await refused.keys.create(provider_id=1)
            await shop.proxy.wait_until_closed()
            assert shop.emulator.requests == 2

    run(main())
