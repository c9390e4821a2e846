"""The entry point that declares the fixtures of `junkie_async.pytest_plugin` at no cost.

pytest imports this module in every run of an environment that has the package. So it is installed
beside the package, not in it, and imports the package only when a fixture is used.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

if TYPE_CHECKING:
    from junkie_async import JunkieClient
    from junkie_async.emulator import Emulator
    from junkie_async.pytest_plugin import FaultSwitch, KeyFactory


def _test_seed(request: pytest.FixtureRequest) -> int:
    return crc32(request.node.nodeid.encode())  # hash() differs from run to run


@pytest.fixture
def junkie_emulator() -> Generator[Emulator]:
    """A running `junkie_async.emulator.Emulator` without keys, for tests of any kind.

    During the test, $JUNKIE_BASE_URL and $JUNKIE_API_KEY make every `JunkieClient()` connect to it,
    in subprocesses too, and none to the real service.
    """
    from junkie_async.pytest_plugin import running_emulator

    with running_emulator() as emulator:
        yield emulator


@pytest.fixture
def junkie_faults(
    junkie_emulator: Emulator, request: pytest.FixtureRequest
) -> Generator[FaultSwitch]:
    """A switch for the faults of `junkie_emulator`: `junkie_faults.on(error_rate=1.0)`, `.off()`.

    Or in a block: `with junkie_faults(drop_after_rate=1.0): ...`. The arguments are those of
    `junkie_async.emulator.Faults`. By default the seed depends on the test's node ID.
    """
    from junkie_async.pytest_plugin import FaultSwitch

    switch = FaultSwitch(junkie_emulator, _test_seed(request))
    yield switch
    switch.off()


@pytest.fixture
def junkie_instant_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the waits of clients pass a thousand times faster: back-offs, pauses and outages.

    It sets $JUNKIE_TEST_INSTANT_WAITS during the test, so it works for clients that are made
    meanwhile, in subprocesses too. They fail and retry as in production. It has no effect over TLS.
    """
    monkeypatch.setenv("JUNKIE_TEST_INSTANT_WAITS", "1")


@pytest.fixture
def junkie_factory(request: pytest.FixtureRequest) -> KeyFactory:
    """A factory of realistic keys and folders: `.key()`, `.keys(3, status="used")`, `.folder()`.

    They are the same in each run of a test, in any order of tests. `await .store(key)` stores them
    in `junkie_emulator`, if the test uses it.
    """
    from junkie_async.pytest_plugin import KeyFactory

    # A dependency on the fixture would start an emulator for tests that never store a key.
    has_emulator = "junkie_emulator" in request.fixturenames
    emulator = request.getfixturevalue("junkie_emulator") if has_emulator else None
    return KeyFactory(_test_seed(request), emulator)


try:
    # pytest loads this plugin anyway, so the import costs a run nothing.
    import pytest_asyncio
except ImportError:  # pragma: no cover - pinned by a test in a process of its own

    @pytest.fixture(name="junkie_client")
    def _missing_client() -> None:  # pyright: ignore[reportUnusedFunction] - pytest calls it
        """A `JunkieClient` for `junkie_emulator`. It needs pytest-asyncio, which is missing."""
        message = 'junkie_client needs pytest-asyncio: run `pip install "junkie_async[pytest]"`'
        pytest.fail(message, pytrace=False)

else:

    @pytest_asyncio.fixture
    async def junkie_client(junkie_emulator: Emulator) -> AsyncGenerator[JunkieClient]:
        """A `JunkieClient` for `junkie_emulator`, whose retries don't wait.

        It needs pytest-asyncio, in strict or in auto mode.
        """
        from junkie_async.pytest_plugin import client_of

        async with client_of(junkie_emulator) as client:
            yield client
