"""Fixtures for tests of programs that use junkie_async: ``pip install "junkie_async[pytest]"``.

pytest loads them automatically:

    @pytest.mark.asyncio
    async def test_my_bot_gives_keys(junkie_client, junkie_faults):
        await my_bot.give_key(USER)  # its own JunkieClient() connects to the emulator, too
        assert await junkie_client.keys.list(discord_id=USER).count() == 1
        with junkie_faults(error_rate=1.0):
            assert await my_bot.give_key(USER) == "Please try again later."

- ``junkie_emulator``: a running `Emulator` without keys. During the test, ``$JUNKIE_BASE_URL`` and
  ``$JUNKIE_API_KEY`` make every ``JunkieClient()`` connect to it. It runs in its own thread, so it
  works with pytest-asyncio, with anyio's plugin, and in tests that are not async.
- ``junkie_client``: a `JunkieClient` for it, whose retries don't wait. It needs pytest-asyncio, in
  strict or in auto mode, and belongs to the event loop of the fixtures
  (``asyncio_default_fixture_loop_scope``). A test in another loop creates a ``JunkieClient()``.
- ``junkie_faults``: a `FaultSwitch` for it.
- ``junkie_instant_waits``: lets the waits of clients that are made during the test pass a thousand
  times faster: back-offs, pauses after a ``Retry-After``, outages, and the waits of a job before it
  looks for lost keys. What clients do is what they do in production, down to the number of
  attempts. Use it in tests of outages, as ``@pytest.mark.usefixtures("junkie_instant_waits")``. It
  sets ``$JUNKIE_TEST_INSTANT_WAITS``, which has no effect over TLS, and so none on the real
  service. The emulator's own `rate_limit` keeps its time: where a client is to wait for it, leave
  the fixture out.
- ``junkie_factory``: a `KeyFactory`.

Each test gets its own. Use `running_emulator` and `client_of` to write fixtures with another scope.
Random values are seeded with the test's node ID, so they depend neither on other tests nor on the
order of tests. Without entry points (``PYTEST_DISABLE_PLUGIN_AUTOLOAD``), use
``-p pytest_junkie_async``. To disable the fixtures, use ``-p no:junkie_async``.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
from collections.abc import Coroutine, Generator, Mapping
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

    from .emulator import Emulator, Faults

__all__ = ["FaultSwitch", "KeyFactory", "client_of", "running_emulator"]

_API_KEY: Final = "the-emulator-accepts-any-key"
_EPOCH: Final = datetime(2025, 1, 1, tzinfo=UTC)
_NAMES: Final = ("booster", "giveaway", "launch", "partner", "press")
# Made-up IDs: a forgotten mock must not reach a real provider's keys.
_PROVIDER_ID, _SERVICE_ID = 42, 7
# The service assigns or derives these, so `Emulator.seed` does not take them.
_DERIVED_FIELDS: Final = {"id", "service_name", "provider_name", "folder_name", "keys_hwid"}
_STORED_FIELDS: Final = {field.name for field in attrs.fields(Key)} - _DERIVED_FIELDS


class _ThreadedEmulator(Emulator):
    """An emulator in another thread's event loop, which any thread or loop can start and close."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop

    async def start(self) -> None:
        await self._run_in_own_loop(super().start())

    async def close(self) -> None:
        await self._run_in_own_loop(super().close())

    async def _run_in_own_loop(self, work: Coroutine[Any, Any, None]) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


@contextmanager
def running_emulator() -> Generator[Emulator]:
    """Run an emulator in a thread, and point the environment variables to it.

    Yields:
        The emulator. It can be closed and started again, which gives it another address.
    """
    loop = asyncio.new_event_loop()
    # A daemon, so that an interrupted test run does not hang at exit.
    thread = Thread(target=loop.run_forever, name="junkie-emulator", daemon=True)
    thread.start()
    emulator = _ThreadedEmulator(loop)
    try:
        asyncio.run_coroutine_threadsafe(emulator.start(), loop).result()
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("JUNKIE_BASE_URL", emulator.url)
            # Also keeps a real key in the developer's environment out of the tests.
            environment.setenv("JUNKIE_API_KEY", _API_KEY)
            yield emulator
    finally:
        asyncio.run_coroutine_threadsafe(emulator.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def client_of(emulator: Emulator) -> JunkieClient:
    """Create a client for an emulator. It retries as often as the default one, without waiting."""
    retry = RetryPolicy(wait_initial=0.0, wait_jitter=0.0)
    return JunkieClient(_API_KEY, base_url=emulator.url, retry=retry)


class FaultSwitch:
    """Switches the faults of an emulator on and off.

    Args:
        emulator: The emulator.
        seed: The random seed. With the same seed, the same sequence of requests fails the same way.
    """

    def __init__(self, emulator: Emulator, seed: int) -> None:
        self._emulator = emulator
        self._seed = seed

    def on(self, **faults: Any) -> None:
        """Switch faults on.

        Args:
            **faults: The arguments of `Faults`.

        Raises:
            TypeError: `Faults` has no such argument.
            ValueError: A value is out of range.
        """
        arguments: dict[str, Any] = {"seed": self._seed, **faults}
        self._emulator.faults = Faults(**arguments)

    def off(self) -> None:
        """Switch all faults off."""
        self._emulator.faults = None

    @contextmanager
    def __call__(self, **faults: Any) -> Generator[None]:
        """Switch faults on within a ``with`` block; takes the arguments of `on`."""
        before = self._emulator.faults
        self.on(**faults)
        try:
            yield
        finally:
            self._emulator.faults = before  # not None: these blocks can be nested


class KeyFactory:
    """Creates realistic keys and folders, the same ones for the same seed.

    Args:
        seed: The random seed.
        emulator: The emulator that `store` writes to.
    """

    def __init__(self, seed: int, emulator: Emulator | None = None) -> None:
        self._random = Random(seed)  # noqa: S311 - the keys open nothing
        self._emulator = emulator
        # Not from 1: a test that confuses a key's ID with an index should fail.
        self._ids = itertools.count(self._random.randrange(10_000, 90_000))
        self._folders: dict[int, KeyFolder] = {}
        self._unstored_folders: list[KeyFolder] = []

    def key(self, *, status: KeyStatus | str = KeyStatus.ACTIVE, **fields: Any) -> Key:
        """Create a key.

        Args:
            status: The status; sets `used_at`, `expires_at` or `is_invalidated` accordingly.
            **fields: The attributes of `Key`; those left out get generated values. `hwids` may be
                strings. Datetimes are truncated to milliseconds, as in the emulator. Nothing else
                is derived: `validity_minutes` does not set `expires_at`.

        Raises:
            TypeError: `Key` has no such attribute.
            ValueError: There is no such status.
        """
        values = self._default_fields() | fields
        created_at = values["created_at"] or _EPOCH
        values = _status_fields(KeyStatus(status), created_at) | values
        hwids = dict.fromkeys(values.get("hwids", ()))  # the service binds each device once
        values["hwids"] = tuple(_bind_hwid(hwid, created_at) for hwid in hwids)
        for name, value in values.items():
            if isinstance(value, datetime):
                values[name] = _truncate_to_milliseconds(value)
        return Key(**self._derived_fields(values) | values)

    def keys(self, amount: int, **fields: Any) -> list[Key]:
        """Create several keys with the same given fields; takes the arguments of `key`."""
        return [self.key(**fields) for _ in range(amount)]

    def folder(self, name: str | None = None) -> KeyFolder:
        """Create a folder, whose ID can be the `folder_id` of keys.

        Args:
            name: The folder's name; generated by default.
        """
        folder = KeyFolder(
            id=next(self._ids),
            name=name or self._random.choice(_NAMES),
            created_at=self._random_datetime(),
        )
        self._folders[folder.id] = folder
        self._unstored_folders.append(folder)
        return folder

    async def store(self, *keys: Key) -> list[Key]:
        """Store keys, and all folders created so far, in `junkie_emulator`.

        Returns:
            The keys as a client finds them: with the IDs and names that the emulator assigns.

        Raises:
            RuntimeError: The test does not use `junkie_emulator`.
            sqlite3.IntegrityError: A key value is stored already; no key was stored.
        """
        if self._emulator is None:
            raise RuntimeError("store() needs the fixture junkie_emulator: request it in the test")
        while self._unstored_folders:
            folder = self._unstored_folders.pop()
            await self._emulator.add_folder(
                folder.name, folder_id=folder.id, created_at=folder.created_at
            )
        # `seed` takes a function of the index for each column.
        rows = [attrs.asdict(key) for key in keys]
        columns: dict[str, Any] = {
            name: [row[name] for row in rows].__getitem__ for name in _STORED_FIELDS
        }
        ids = await self._emulator.seed(len(keys), **columns)
        return [
            attrs.evolve(key, id=key_id, **self._derived_fields(attrs.asdict(key, recurse=False)))
            for key_id, key in zip(ids, keys, strict=True)
        ]

    def _default_fields(self) -> dict[str, Any]:
        return {
            "id": next(self._ids),
            "key_value": self._random_key_value(),
            "user_id": 1,
            "service_id": _SERVICE_ID,
            "provider_id": _PROVIDER_ID,
            "key_name": self._random.choice(_NAMES),
            "hwid_limit": 1,
            "discord_id": str(self._random.randrange(10**17, 10**18)),
            "created_at": self._random_datetime(),
        }

    def _derived_fields(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        folder = self._folders.get(fields.get("folder_id") or 0)
        return {
            "service_name": _numbered_name("Service", fields["service_id"]),
            "provider_name": _numbered_name("Provider", fields["provider_id"]),
            "folder_name": (
                folder.name if folder else _numbered_name("Folder", fields.get("folder_id"))
            ),
            "keys_hwid": tuple(device.hwid for device in fields["hwids"]),
        }

    def _random_key_value(self) -> str:
        text = base64.b32encode(self._random.randbytes(10)).decode()
        return "-".join(["JNK", *(text[at : at + 4] for at in range(0, 16, 4))])

    def _random_datetime(self) -> datetime:
        return _EPOCH + timedelta(seconds=self._random.randrange(90 * 86_400))


def _numbered_name(kind: str, number: int | None) -> str | None:
    return None if number is None else f"{kind} {number}"


def _truncate_to_milliseconds(value: datetime) -> datetime:
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


def _bind_hwid(hwid: str | HWID, bound_at: datetime) -> HWID:
    if isinstance(hwid, str):
        hwid = HWID(hwid=hwid, bound_at=bound_at, bound_by="api")
    return attrs.evolve(hwid, bound_at=hwid.bound_at and _truncate_to_milliseconds(hwid.bound_at))


def _status_fields(status: KeyStatus, created_at: datetime) -> dict[str, Any]:
    settings: dict[KeyStatus, dict[str, Any]] = {
        KeyStatus.ACTIVE: {},
        KeyStatus.USED: {"used_at": created_at + timedelta(hours=1)},
        KeyStatus.EXPIRED: {"expires_at": created_at + timedelta(days=1)},
        KeyStatus.INVALIDATED: {"is_invalidated": True},
    }
    return settings[status]
