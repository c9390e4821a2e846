"""The emulator's lifetime: a store in its own thread, and a web server."""

import asyncio
import ipaddress
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from .app import PREFIX, Service
from .faults import Faults
from .store import KeyRef, Store

_TEST_PREFIX = "test-"
_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - only with API keys
_SHUTDOWN_SECONDS = 0.1  # for requests in progress; then their connections are closed


def _check_host(host: str, api_keys: Collection[str] | None) -> str:
    # "localhost" can be 127.0.0.1 and ::1, and with port 0 each would get a port of its own.
    if host == "localhost":
        return "127.0.0.1"
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise ValueError(f"host must be an IP address, got {host!r}") from None
    if not is_loopback and not api_keys:
        raise ValueError(
            f"{host} can be reached by others, so an API key is required: one that begins with"
            f" {_TEST_PREFIX}, such as {_TEST_PREFIX}ci"
        )
    # Keys come over plain http, which clients use for no others in a network.
    if not is_loopback and not all(key.startswith(_TEST_PREFIX) for key in api_keys or ()):
        raise ValueError(
            f"{host} can be reached by others, so API keys must begin with {_TEST_PREFIX}, as no"
            f" key of the service does: {_TEST_PREFIX}ci, for example"
        )
    return host


class Emulator(Service):
    """A local Junkie key service that obeys the published contract, for tests and first tries.

    It validates every request against the contract's ``openapi.json``, keeps its keys in SQLite
    and shares no code with the client. With a million keys it still serves a page within
    milliseconds, also deep in a walk; only a jump to a deep page, and the first page of a new
    combination of filters, take longer:

        async with Emulator() as emulator:
            await emulator.seed(250, provider_id=42)
            async with JunkieClient("any", base_url=emulator.url) as junkie:
                print(await junkie.keys.list().count())

    `latency`, `rate_limit`, `rate_limit_burst` and `faults` can be set while it runs.

    Args:
        db: A SQLite file, which keeps the keys over a restart, or ``":memory:"``. Only its owner
            may read it, and only one emulator can have it open.
        host: The IP address to listen on, by default loopback. Others, such as ``0.0.0.0``, need
            `api_keys` that begin with ``test-``: clients send no others over plain http.
        port: The port; 0 takes a free one at every start.
        latency: The minimum time between a request and its response, in seconds.
        rate_limit: Requests admitted per second in the long run, > 0; None admits all. As in the
            service, each API key has this limit for itself; all requests without an accepted one
            share one. A refusal is a 429 with ``Retry-After`` in whole seconds, rounded up and at
            least 1.
        rate_limit_burst: Requests of one API key admitted in a burst after a pause, >= 1; None is
            one second's worth, at least 1.
        rate_limit_headers: Whether every response, except those of `faults`, has
            ``RateLimit-Limit`` (the burst), ``RateLimit-Remaining`` (how much of it is left) and
            ``RateLimit-Reset`` (whole seconds, rounded up, until all of it is available again if
            no request arrives meanwhile), all of the request's API key.
        faults: The faults to inject, as by a proxy in front of the service; None for none.
        newest_first: Whether listings start with the newest key, or with the oldest.
        api_keys: The accepted API keys; None accepts any non-empty one. A mapping gives each its
            own limit in requests per second, or None for `rate_limit`:
            ``{"bot": 100, "shop": None}``.

    Raises:
        TypeError: `api_keys` is a string.
        ValueError: A number is out of its range, or the host is not loopback and has no API key
            for tests.
    """

    def __init__(
        self,
        db: str | Path = ":memory:",
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        latency: float = 0.0,
        rate_limit: float | None = None,
        rate_limit_burst: float | None = None,
        rate_limit_headers: bool = False,
        faults: Faults | None = None,
        newest_first: bool = True,
        api_keys: Collection[str] | Mapping[str, float | None] | None = None,
    ) -> None:
        super().__init__(api_keys=api_keys, rate_limit_headers=rate_limit_headers)
        self._db = str(db)
        self._host = _check_host(host, api_keys)
        self._port = port
        self._newest_first = newest_first
        self.latency = latency
        self.rate_limit = rate_limit
        self.rate_limit_burst = rate_limit_burst
        self.faults = faults
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The `base_url` for clients on this machine.

        Raises:
            RuntimeError: The emulator is not running.
        """
        if self._runner is None:
            raise RuntimeError("the emulator is not running: use `async with Emulator()`")
        host, port = self._runner.addresses[0][:2]
        if host in _LOOPBACK_OF:
            host = _LOOPBACK_OF[host]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{PREFIX}"

    async def start(self) -> None:
        """Open the store and start listening.

        Raises:
            RuntimeError: The emulator is already running.
            OSError: The port is taken.
            ValueError: The file is not a database of this version of the emulator.
            sqlite3.DatabaseError: The file can't be opened, or another emulator has it open.
        """
        if self._thread is not None:
            raise RuntimeError("the emulator is already running")
        self._thread = ThreadPoolExecutor(1, "junkie-emulator")
        try:
            open_store = partial(Store, self._db, newest_first=self._newest_first)
            loop = asyncio.get_running_loop()
            self._store = await loop.run_in_executor(self._thread, open_store)
            await self._start_listening()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening, close all connections and the store; closing twice does nothing."""
        runner, self._runner = self._runner, None
        try:
            if runner is not None:
                await runner.cleanup()
        finally:
            await self._close_store()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def add_folder(
        self, name: str, *, folder_id: int | None = None, created_at: datetime | None = None
    ) -> int:
        """Create a folder, for which the API has no operation.

        Args:
            name: Its name.
            folder_id: Its ID; None for the next free one.
            created_at: Its creation time, as an aware datetime; None for now.

        Returns:
            Its ID.

        Raises:
            ValueError: The timestamp has no time zone.
            sqlite3.IntegrityError: Another folder has this ID.
        """
        return await self._run_in_store(Store.add_folder, name, folder_id, created_at)

    async def seed(self, amount: int, **columns: Any) -> range:
        """Insert many keys straight into the store; a million takes some seconds.

        Args:
            amount: How many keys, >= 0.
            **columns: The fields of a key, under the contract's names: one value for all keys, or
                a callable that gets the row's index (from 0). Timestamps (`expires_at`, `used_at`,
                `created_at`) are aware datetimes or None, `hwids` is a list of strings, or of
                HWID objects as dicts. Nothing is derived: `validity_minutes` sets no
                `expires_at`. `provider_id` defaults to 1, key values are generated.

        Returns:
            The IDs, ascending in the order of the rows.

        Raises:
            TypeError: There is no such column.
            ValueError: The amount is negative, or a timestamp has no time zone.
            sqlite3.IntegrityError: A key value exists already; nothing was inserted.
        """
        return await self._run_in_store(Store.seed, amount, columns)

    async def mark_used(self, key_id: KeyRef, at: datetime | None = None) -> None:
        """Record a key's first use, as a licensed program would; on a used key it does nothing.

        A validity that starts at the first use starts now.

        Args:
            key_id: An ID (number) or a key value (text).
            at: When it was used, as an aware datetime; None for now.

        Raises:
            LookupError: There is no such key.
            ValueError: The timestamp has no time zone.
        """
        if not await self._run_in_store(Store.mark_used, key_id, at):
            raise LookupError("there is no such key")

    async def count(self) -> int:
        """Return the number of keys."""
        return await self._run_in_store(Store.count)

    async def _start_listening(self) -> None:
        self._runner = web.AppRunner(
            self._make_application(),
            handle_signals=False,
            access_log=None,
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()

    async def _close_store(self) -> None:
        store, self._store = self._store, None
        thread, self._thread = self._thread, None
        if thread is None:
            return
        # SQLite connections must be closed in their own thread. The close is submitted before the
        # await, so that it runs even if this coroutine is cancelled.
        closing = thread.submit(store.close if store else lambda: None)
        thread.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))
