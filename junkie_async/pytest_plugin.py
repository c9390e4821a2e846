"""Fixtures for tests of programs that use junkie_async: ``pip install "junkie_async[pytest]"``.

pytest finds them on its own::

    @pytest.mark.asyncio
    async def test_my_bot_gives_keys(junkie_client, junkie_faults):
        await my_bot.give_key(USER)  # its own JunkieClient() reaches the emulator, too
        assert await junkie_client.keys.list(discord_id=USER).count() == 1
        with junkie_faults(error_rate=1.0):
            assert await my_bot.give_key(USER) == "Please try again later."

- ``junkie_emulator``: a running `Emulator` without keys. While the test lasts, ``$JUNKIE_BASE_URL``
  and ``$JUNKIE_API_KEY`` lead every ``JunkieClient()`` to it. It answers from a thread of its own,
  so it serves tests with pytest-asyncio, with anyio's plugin, and tests that are not async at all.
- ``junkie_client``: a `JunkieClient` of it, whose retries don't wait. It needs pytest-asyncio, in
  strict or in auto mode, and lives in the fixtures' loop (``asyncio_default_fixture_loop_scope``);
  in any other loop make a ``JunkieClient()`` in the test.
- ``junkie_faults``: a `FaultSwitch` of it.
- ``junkie_factory``: a `KeyFactory`.

Each test has its own. Fixtures of another scope can be made of `running_emulator` and `client_of`.
Chance is seeded by the test's node ID: what a test sees depends neither on other tests nor on their
order. Without entry points (``PYTEST_DISABLE_PLUGIN_AUTOLOAD``) use ``-p pytest_junkie_async``;
``-p no:junkie_async`` does without the fixtures.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from threading import Thread
from typing import Any, Final

import attrs

from . import HWID, JunkieClient, Key, KeyFolder, KeyStatus, RetryPolicy
from .ext import needs_extra

with needs_extra("pytest"):
    import pytest

try:
    from .emulator import Emulator, Faults
except ImportError as error:  # pragma: no cover - pinned by a test in a process of its own
    raise ImportError(
        'The fixtures need jsonschema-rs: pip install "junkie_async[pytest]"'
    ) from error

__all__ = ["FaultSwitch", "KeyFactory", "client_of", "running_emulator"]

_API_KEY: Final = "the-emulator-takes-any"
_EPOCH: Final = datetime(2025, 1, 1, tzinfo=UTC)
_NAMES: Final = ("booster", "giveaway", "launch", "partner", "press")
_OF_THE_SERVICE: Final = {"id", "service_name", "provider_name", "folder_name", "keys_hwid"}
_STORED: Final = {field.name for field in attrs.fields(Key)} - _OF_THE_SERVICE


class _Background(Emulator):
    """An emulator that answers in another thread's loop, from wherever it is started or closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    async def start(self) -> None:
        await self._there(super().start())

    async def close(self) -> None:
        await self._there(super().close())

    async def _there(self, work: Coroutine[Any, Any, None]) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


@contextmanager
def _loop_in_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="junkie-emulator", daemon=True)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@contextmanager
def running_emulator() -> Iterator[Emulator]:
    """Run an emulator in a thread, with the environment's variables leading to it.

    Yields:
        The emulator. It may be closed and started again, which gives it another address.
    """
    with _loop_in_thread() as loop, pytest.MonkeyPatch.context() as environment:
        emulator = _Background(loop)
        asyncio.run_coroutine_threadsafe(emulator.start(), loop).result()
        try:
            environment.setenv("JUNKIE_BASE_URL", emulator.url)
            environment.setenv("JUNKIE_API_KEY", _API_KEY)
            yield emulator
        finally:
            asyncio.run_coroutine_threadsafe(emulator.close(), loop).result()


def client_of(emulator: Emulator) -> JunkieClient:
    """Make a client of an emulator that retries as often as any, but without waiting."""
    retry = RetryPolicy(wait_initial=0.0, wait_jitter=0.0)
    return JunkieClient(_API_KEY, base_url=emulator.url, retry=retry)


class FaultSwitch:
    """Switches faults of an emulator on and off.

    Args:
        emulator: The emulator.
        seed: Makes the same requests, in the same order, fail alike.
    """

    def __init__(self, emulator: Emulator, seed: int) -> None:
        self._emulator = emulator
        self._seed = seed

    def on(self, **faults: Any) -> None:
        """Have things go wrong from now on.

        Args:
            **faults: What, and how often: the arguments of `Faults`.

        Raises:
            TypeError: There is no such argument.
            ValueError: A value is out of its range.
        """
        self._emulator.faults = Faults(**{"seed": self._seed, **faults})

    def off(self) -> None:
        """Have nothing go wrong any more."""
        self._emulator.faults = None

    @contextmanager
    def __call__(self, **faults: Any) -> Iterator[None]:
        """Have things go wrong within a ``with``; the arguments are those of `on`."""
        before = self._emulator.faults
        self.on(**faults)
        try:
            yield
        finally:
            self._emulator.faults = before


class KeyFactory:
    """Makes keys and folders that look real, the same for the same seed.

    Args:
        seed: What their values are drawn by.
        emulator: Where `store` puts them.
    """

    def __init__(self, seed: int, emulator: Emulator | None = None) -> None:
        self._random = Random(seed)  # noqa: S311 - the keys open nothing
        self._emulator = emulator
        self._ids = itertools.count(self._random.randrange(10_000, 90_000))
        self._folders: dict[int, KeyFolder] = {}
        self._not_stored: list[KeyFolder] = []

    def key(self, *, status: KeyStatus | str = KeyStatus.ACTIVE, **fields: Any) -> Key:
        """Make a key.

        Args:
            status: What it is worth: sets `used_at`, `expires_at` or `is_invalidated`.
            **fields: The fields of `Key`, under its names; those left out are made. `hwids` may be
                strings. Moments are cut to milliseconds, as the emulator does. Nothing else
                is derived: `validity_minutes` sets no `expires_at`.

        Raises:
            TypeError: There is no such field.
            ValueError: There is no such status.
        """
        made = self._made() | fields
        at = made["created_at"] or _EPOCH
        made = _of_status(KeyStatus(status), at) | made
        made["hwids"] = tuple(_bound(one, at) for one in dict.fromkeys(made.get("hwids", ())))
        moments = {name: _cut(one) for name, one in made.items() if isinstance(one, datetime)}
        return Key(**{**self._derived(made), **made, **moments})

    def keys(self, amount: int, **fields: Any) -> list[Key]:
        """Make several keys, alike in what is given; the arguments are those of `key`."""
        return [self.key(**fields) for _ in range(amount)]

    def folder(self, name: str | None = None) -> KeyFolder:
        """Make a folder, whose ID can be the `folder_id` of keys.

        Args:
            name: Its name; made unless given.
        """
        made = KeyFolder(id=next(self._ids), name=name or self._name(), created_at=self._moment())
        self._folders[made.id] = made
        self._not_stored.append(made)
        return made

    async def store(self, *keys: Key) -> list[Key]:
        """Put keys, and all folders made so far, into `junkie_emulator`.

        Returns:
            The keys as a client finds them there: with the IDs and names that the emulator gives.

        Raises:
            RuntimeError: The test does not use `junkie_emulator`.
            sqlite3.IntegrityError: One of the key values is there already; no key was stored.
        """
        if self._emulator is None:
            raise RuntimeError("store() is for tests that use the fixture junkie_emulator")
        while self._not_stored:
            one = self._not_stored.pop()
            await self._emulator.add_folder(one.name, folder_id=one.id, created_at=one.created_at)
        columns = {name: [_column(name, key) for key in keys].__getitem__ for name in _STORED}
        ids = await self._emulator.seed(len(keys), **columns)
        return [
            attrs.evolve(key, id=key_id, **self._derived(attrs.asdict(key, recurse=False)))
            for key_id, key in zip(ids, keys, strict=True)
        ]

    def _made(self) -> dict[str, Any]:
        return {
            "id": next(self._ids),
            "key_value": self._key_value(),
            "user_id": 1,
            "service_id": 20542,
            "provider_id": 8969,
            "key_name": self._name(),
            "hwid_limit": 1,
            "discord_id": str(self._random.randrange(10**17, 10**18)),
            "created_at": self._moment(),
        }

    def _derived(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Give the fields that the service makes of others."""
        folder = self._folders.get(fields.get("folder_id") or 0)
        return {
            "service_name": _named("Service", fields["service_id"]),
            "provider_name": _named("Provider", fields["provider_id"]),
            "folder_name": folder.name if folder else _named("Folder", fields.get("folder_id")),
            "keys_hwid": tuple(one.hwid for one in fields["hwids"]),
        }

    def _key_value(self) -> str:
        text = base64.b32encode(self._random.randbytes(10)).decode()
        return "-".join(["JNK", *(text[at : at + 4] for at in range(0, 16, 4))])

    def _name(self) -> str:
        return self._random.choice(_NAMES)

    def _moment(self) -> datetime:
        return _EPOCH + timedelta(seconds=self._random.randrange(90 * 86_400))


def _named(kind: str, number: int | None) -> str | None:
    return None if number is None else f"{kind} {number}"


def _cut(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _bound(hwid: str | HWID, at: datetime) -> HWID:
    made = hwid if isinstance(hwid, HWID) else HWID(hwid=hwid, bound_at=at, bound_by="api")
    return attrs.evolve(made, bound_at=made.bound_at and _cut(made.bound_at))


def _of_status(status: KeyStatus, created_at: datetime) -> dict[str, Any]:
    settings: dict[KeyStatus, dict[str, Any]] = {
        KeyStatus.ACTIVE: {},
        KeyStatus.USED: {"used_at": created_at + timedelta(hours=1)},
        KeyStatus.EXPIRED: {"expires_at": created_at + timedelta(days=1)},
        KeyStatus.INVALIDATED: {"is_invalidated": True},
    }
    return settings[status]


def _column(name: str, key: Key) -> Any:
    value = getattr(key, name)
    return [attrs.asdict(one) for one in value] if name == "hwids" else value
