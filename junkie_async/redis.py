"""A rate limit that processes share: shards, web workers and jobs that use one API key.

    throttle = RedisThrottle("redis://cache/0", rate=RateLimit(100))
    async with JunkieClient(throttle=throttle) as junkie: ...

It needs the extra: ``pip install "junkie_async[redis]"``.

How it works:

1. Each request reserves its slot with one Lua script, on the clock of Redis. The script returns how
   long to wait. Slots are spaced evenly. The clocks of the processes do not matter.
2. A slot goes to the call whose turn it is when the slot is due: interactive calls come first.
3. A 429 pauses all processes. Without ``rate`` they also learn the limit together: they begin with
   40 requests a second, and send more until the first 429.
4. While Redis can't be reached, no call fails or waits for it. Each process goes on at its share:
   the rate, divided by the number of clients that were active lately. `Hooks.on_shared_throttle`
   and the log say so once, and again when Redis is back.

The state is one hash for each API key and base URL, whose name contains a hash of them. It expires
after a day without requests.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias
from urllib.parse import SplitResult, urlsplit

from ._errors import ConfigurationError, InvalidRequestError
from ._http.local_rate import RateLimit
from ._http.redis_scripts import PAUSE_ALL, RESERVE_SLOTS
from ._http.shared_rate import RateStore, Reservation, SharedThrottle
from ._masking import error_boundary
from ._validation import safe_repr

if TYPE_CHECKING:
    from redis.asyncio import Redis, RedisCluster

__all__ = ["RedisThrottle"]

_Client: TypeAlias = "Redis | RedisCluster"

_TIMEOUT: Final = 0.25
"""Seconds for one request to Redis, unless the URL says otherwise."""


class RedisThrottle(SharedThrottle):
    """A rate limit that all processes with one API key share, kept in Redis.

    Pass it as ``JunkieClient(throttle=...)``. ``max_in_flight`` and ``rate_limit`` still hold for
    each client.

    Args:
        redis: A URL as redis-py takes it (``redis://``, ``rediss://`` for TLS, ``unix://``), or a
            `redis.asyncio.Redis` or `redis.asyncio.RedisCluster` of yours. The client opens the
            connections of a URL, and closes them. Yours is not closed; it should have a
            ``socket_timeout`` of less than a second.
        rate: The limit of all processes together, spread evenly: no burst is saved up. None learns
            it from 429s.

    Raises:
        ConfigurationError: The extra ``redis`` is not installed, or the URL is not valid.
        InvalidRequestError: An argument is of another type.
    """

    @error_boundary
    def __init__(self, redis: str | _Client, *, rate: RateLimit | None = None) -> None:
        library = _import_redis()
        if rate is not None and not isinstance(rate, RateLimit):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
            raise InvalidRequestError("rate", safe_repr(rate), "a RateLimit or None")
        if isinstance(redis, str):
            self._name = _describe_url(redis)
            self._connect = lambda: _connect(library, redis)
            _check_url(library, redis)
        elif isinstance(redis, library.Redis | library.RedisCluster):
            self._name = f"the given {type(redis).__name__}"
            self._connect = lambda: redis
        else:
            limit = "a URL, a redis.asyncio.Redis or a redis.asyncio.RedisCluster"
            raise InvalidRequestError("redis", safe_repr(redis), limit)
        self._is_own = isinstance(redis, str)
        self._rate = rate

    def open_store(self, api_key: str, base_url: str) -> RateStore:
        """Open the state of one API key and base URL. A client calls this, without I/O."""
        scope = hashlib.sha256(f"{api_key}\n{base_url}".encode()).hexdigest()
        key = f"junkie_async:throttle:{scope[:32]}"
        return _RedisStore(self._name, key, self._rate, self._connect, is_own=self._is_own)

    def __repr__(self) -> str:
        return f"<RedisThrottle {getattr(self, '_name', 'not initialized')}>"


class _RedisStore(RateStore):
    """The state of one API key and base URL: a hash, and a channel of the same name."""

    def __init__(
        self,
        name: str,
        key: str,
        rate: RateLimit | None,
        connect: Callable[[], Any],
        *,
        is_own: bool,
    ) -> None:
        self.name = name
        self._key = key
        self._rate = rate.requests / rate.per if rate else 0.0
        self.interval = 1 / self._rate if rate else 0.0
        self._connect = connect
        self._is_own = is_own
        self._client: Any = None
        self._window = -1
        self._learned = 0.0

    async def reserve(self, count: int, horizon: float) -> Reservation:
        reply = await self._run_reservation(
            count, self._rate, _to_micros(horizon), self._window, self._learned
        )
        pause, interval, clients, self._window, learned, first, *waits = reply
        self._learned = float(learned)
        return Reservation(
            waits=tuple(wait / 1e6 for wait in waits),
            first=first,
            pause=pause / 1e6,
            interval=interval / 1e6,
            clients=clients,
        )

    async def pause(self, seconds: float, number: int, age: float) -> None:
        # As text: it is rare, and others are sending while this one asks whether Redis has it.
        arguments = (_to_micros(seconds), self._rate, number, _to_micros(age))
        await self._open_client().eval(PAUSE_ALL, 1, self._key, *arguments)

    async def listen(self, on_pause: Callable[[float], None]) -> None:
        async with self._open_client().pubsub() as channel:
            await channel.subscribe(self._key)
            while True:
                message = await channel.get_message(ignore_subscribe_messages=True, timeout=5.0)
                if message is not None:
                    on_pause(int(message["data"]) / 1e6)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None and self._is_own:
            await client.aclose()

    def abandon(self) -> None:
        self._client = None

    def _open_client(self) -> Any:
        if self._client is None:
            self._client = self._connect()
        return self._client

    async def _run_reservation(self, *arguments: float) -> Any:
        client = self._open_client()
        try:
            return await client.evalsha(_RESERVE_SHA, 1, self._key, *arguments)
        except Exception as error:
            # Redis was restarted, or this is its first script.
            if not str(error).startswith("NOSCRIPT") and type(error).__name__ != "NoScriptError":
                raise
        return await client.eval(RESERVE_SLOTS, 1, self._key, *arguments)


_RESERVE_SHA: Final = hashlib.sha1(RESERVE_SLOTS.encode(), usedforsecurity=False).hexdigest()


def _to_micros(seconds: float) -> int:
    return round(seconds * 1e6)


def _import_redis() -> Any:
    try:
        return importlib.import_module("redis.asyncio")
    except ImportError as error:
        reason = str(error)
    raise ConfigurationError(
        f'RedisThrottle needs redis-py: run `pip install "junkie_async[redis]"` ({reason})'
    )


def _connect(library: Any, url: str) -> Any:
    """Make a client that answers in time or not at all: this package decides what comes next."""
    retry = importlib.import_module("redis.asyncio.retry").Retry(
        importlib.import_module("redis.backoff").NoBackoff(), 0
    )
    return library.Redis.from_url(
        url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, retry=retry
    )


def _check_url(library: Any, url: str) -> None:
    """Refuse a URL that redis-py does not take. Its own errors quote the password."""
    try:
        _connect(library, url).connection_pool.make_connection()  # no I/O; it reads all options
        if not _is_cut(urlsplit(url)):
            return
    except (ValueError, TypeError, library.RedisError):
        pass
    raise ConfigurationError(
        "the Redis URL must be one that redis-py takes, with its options: redis://host:6379/0."
        " Percent-encode the password: a slash is %2F"
    )


def _is_cut(parts: SplitResult) -> bool:
    """Whether a slash, of a password that is not percent-encoded, ends the host too early."""
    has_rest = "@" in parts.path or bool(parts.netloc and not parts.hostname)
    return has_rest and parts.scheme != "unix"


def _describe_url(url: str) -> str:
    """Return a URL's scheme, host, port and path, without user, password and query."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
        path = parts.path if parts.scheme == "unix" or parts.path[1:].isdigit() else ""
        return f"{parts.scheme}://{parts.hostname or ''}{port}{path}"
    except ValueError:
        return "redis"
