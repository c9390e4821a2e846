"""The emulator's lifetime: a store in its own thread, a web server on loopback."""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from aiohttp import web

from .app import PREFIX, Service
from .faults import Faults
from .operations import Answer, Call
from .store import KeyRef, Store

_SHUTDOWN_SECONDS = 0.1  # granted to requests in progress, then they are cut off

P = ParamSpec("P")
T = TypeVar("T")


def _nothing() -> None:
    pass


def _loopback(host: str) -> str:
    if host == "localhost":
        return "127.0.0.1"  # one address: with port 0 each would get a port of its own
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ValueError(f"host must be a loopback address such as 127.0.0.1, not {host!r}")
    return host


class Emulator:
    """A local Junkie key service that obeys the published contract, for tests and first tries.

    It validates every request against the contract's ``openapi.json``, keeps its keys in SQLite
    and shares no code with the client. With a million keys it still answers a page within
    milliseconds, also deep in a walk; only a jump into the deep, and the first page of a new
    combination of filters, take longer::

        async with Emulator() as emulator:
            await emulator.seed(250, provider_id=8969)
            async with JunkieClient("any", base_url=emulator.url) as junkie:
                print(await junkie.keys.list().count())

    Args:
        db: A SQLite file, which keeps the keys over a restart, or ``":memory:"``. A file serves
            one emulator at a time.
        host: A loopback address. The emulator never listens to a network.
        port: The port; 0 takes a free one, anew at every start.
        latency: The least time between a request's coming and its answer's leaving, in seconds.
            It can be set while the emulator runs.
        rate_limit: How many requests a second are admitted in the long run, above 0; None admits
            all. A refusal is a 429 with ``Retry-After`` in whole seconds, rounded up, so at least
            1. It can be set while the emulator runs.
        rate_limit_burst: How many requests are admitted at once after a rest, from 1; None is a
            second's worth, at least 1. It can be set while the emulator runs.
        rate_limit_headers: Whether every answer, but for those of `faults`, has
            ``RateLimit-Limit`` (the burst), ``RateLimit-Remaining`` (how much of it is left) and
            ``RateLimit-Reset`` (whole seconds, rounded up, until all of it is there again, if
            nothing is asked meanwhile).
        faults: What goes wrong on purpose, as it would in a proxy in front of all the rest; None
            is nothing. It can be set while the emulator runs.
        newest_first: Whether listings begin with the newest key, or with the oldest.
        api_keys: The API keys that are accepted; None accepts any that is not empty.

    Raises:
        ValueError: The host is not loopback, or a number is out of its range.
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
        api_keys: Collection[str] | None = None,
    ) -> None:
        self._db = str(db)
        self._host = _loopback(host)
        self._port = port
        self._newest_first = newest_first
        self._service = Service(
            self._operate, api_keys=api_keys, rate_limit_headers=rate_limit_headers
        )
        self.latency = latency
        self.rate_limit = rate_limit
        self.rate_limit_burst = rate_limit_burst
        self.faults = faults
        self._thread: ThreadPoolExecutor | None = None
        self._store: Store | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The address to give a client as its `base_url`.

        Raises:
            RuntimeError: The emulator is not running.
        """
        if self._runner is None:
            raise RuntimeError("the emulator is not running: use `async with Emulator()`")
        host, port = self._runner.addresses[0][:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}{PREFIX}"

    @property
    def requests(self) -> int:
        """How many requests were answered, refusals and errors included, also those of `faults`.

        A request whose connection a fault broke was not answered.
        """
        return self._service.requests

    @property
    def calls(self) -> Counter[str]:
        """How many requests each operation got, by operationId such as ``listKeys``.

        Those that were refused for their contents or their API key count, those refused by the
        rate limit and those that `faults` kept from being carried out don't.
        """
        return self._service.calls

    @property
    def statuses(self) -> Counter[int]:
        """How many answers had each HTTP status; they add up to `requests`."""
        return self._service.statuses

    @property
    def faults_injected(self) -> Counter[str]:
        """How many faults were made: ``error``, ``drop_before``, ``drop_after``, ``throttle``.

        Each 429 of a burst is one. ``latency`` counts the requests that were delayed, whatever
        else befell them.
        """
        return self._service.faults_injected

    @property
    def latency(self) -> float:
        """The least time an answer takes, in seconds, finite and from 0."""
        return self._service.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._service.latency = seconds

    @property
    def rate_limit(self) -> float | None:
        """How many requests a second are admitted, finite and above 0; None admits all."""
        return self._service.rate_limit

    @rate_limit.setter
    def rate_limit(self, rate: float | None) -> None:
        self._service.rate_limit = rate

    @property
    def rate_limit_burst(self) -> float | None:
        """How many requests are admitted at once, finite and from 1; None is a second's worth.

        Setting it, or `rate_limit`, allows a whole burst anew.
        """
        return self._service.rate_limit_burst

    @rate_limit_burst.setter
    def rate_limit_burst(self, burst: float | None) -> None:
        self._service.rate_limit_burst = burst

    @property
    def faults(self) -> Faults | None:
        """What goes wrong on purpose; None is nothing.

        Setting it, even to the same, begins its seed and its bursts anew.
        """
        return self._service.faults

    @faults.setter
    def faults(self, faults: Faults | None) -> None:
        self._service.faults = faults

    async def start(self) -> None:
        """Open the store and listen.

        Raises:
            RuntimeError: The emulator is running already.
            OSError: The port is taken.
            ValueError: The file is something else than an emulator's database.
            sqlite3.DatabaseError: The file can't be opened, or another emulator has it open.
        """
        if self._thread is not None:
            raise RuntimeError("the emulator is running already")
        self._thread = ThreadPoolExecutor(1, "junkie-emulator")
        try:
            self._store = await self._call(Store, self._db, newest_first=self._newest_first)
            await self._listen()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop listening, cut off what is in progress, close the store; again does nothing."""
        runner, self._runner = self._runner, None
        try:
            if runner is not None:
                await runner.cleanup()
        finally:
            await self._close_store()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def add_folder(
        self, name: str, *, folder_id: int | None = None, created_at: datetime | None = None
    ) -> int:
        """Make a folder, which the API itself can't do.

        Args:
            name: Its name.
            folder_id: The ID that it is to have; the next unless given.
            created_at: When it was made, as an aware datetime; now unless given.

        Returns:
            Its ID.

        Raises:
            ValueError: The moment has no offset.
            sqlite3.IntegrityError: The ID is another folder's.
        """
        return await self._call(self._opened().add_folder, name, folder_id, created_at)

    async def seed(self, amount: int, **columns: Any) -> range:
        """Insert many keys straight into the store; a million takes some seconds.

        Args:
            amount: How many keys, from 0.
            **columns: The fields of a key, under the contract's names, as one value for all or
                as a callable of the row's index (from 0). Moments (`expires_at`, `used_at`,
                `created_at`) are aware datetimes or None, `hwids` is a list of strings, or of
                HWID objects as dicts. Nothing is derived: `validity_minutes` sets no
                `expires_at`. `provider_id` is 1 unless given, key values are made unless given.

        Returns:
            The IDs, ascending in the order of the rows.

        Raises:
            TypeError: There is no such column.
            ValueError: The amount is negative, or a moment has no offset.
            sqlite3.IntegrityError: A key value is there already; nothing was inserted.
        """
        return await self._call(self._opened().seed, amount, columns)

    async def mark_used(self, key_id: KeyRef, at: datetime | None = None) -> None:
        """Use a key for the first time, as a program would; on a used key it does nothing.

        A validity that waits for the first use begins to run.

        Args:
            key_id: An ID (number) or a key value (text).
            at: When, as an aware datetime; now unless given.

        Raises:
            LookupError: There is no such key.
            ValueError: The moment has no offset.
        """
        if not await self._call(self._opened().mark_used, key_id, at):
            raise LookupError("there is no such key")

    async def count(self) -> int:
        """Return how many keys there are."""
        return await self._call(self._opened().count)

    async def _listen(self) -> None:
        self._runner = web.AppRunner(
            self._service.application(),
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
        # SQLite wants it closed in its own thread; what is submitted runs, cancelled or not.
        closing = thread.submit(store.close if store else _nothing)
        thread.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))

    async def _operate(self, operation: Callable[[Store, Call], Answer], call: Call) -> Answer:
        return await self._call(operation, self._opened(), call)

    def _opened(self) -> Store:
        if self._store is None:
            raise RuntimeError("the emulator is not running: use `async with Emulator()`")
        return self._store

    async def _call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, lambda: function(*args, **kwargs))
