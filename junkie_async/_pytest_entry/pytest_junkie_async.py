"""The fixtures of `junkie_async.pytest_plugin`, declared where they cost nothing.

pytest imports this module in every run of an environment that has the package. So it is installed
beside the package, not in it, and imports it only when a fixture is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

try:
    import pytest_asyncio  # which pytest loads by itself, sooner or later
except ImportError:  # pragma: no cover - pinned by a test in a process of its own
    _HAS_ASYNCIO = False
else:
    _HAS_ASYNCIO = True

if TYPE_CHECKING:
    from junkie_async import JunkieClient
    from junkie_async.emulator import Emulator
    from junkie_async.pytest_plugin import FaultSwitch, KeyFactory


def _seed(request: pytest.FixtureRequest) -> int:
    return crc32(request.node.nodeid.encode())  # hash() differs from run to run


@pytest.fixture
def junkie_emulator() -> Iterator[Emulator]:
    """A running `junkie_async.emulator.Emulator` without keys, for tests of any kind.

    As long as the test lasts, $JUNKIE_BASE_URL and $JUNKIE_API_KEY lead every `JunkieClient()` to
    it, those of subprocesses too, and so none to the real service.
    """
    from junkie_async.pytest_plugin import running_emulator

    with running_emulator() as emulator:
        yield emulator


@pytest.fixture
def junkie_faults(
    junkie_emulator: Emulator, request: pytest.FixtureRequest
) -> Iterator[FaultSwitch]:
    """What goes wrong in `junkie_emulator`: `junkie_faults.on(error_rate=1.0)`, `.off()`.

    Or for a few lines: `with junkie_faults(drop_after_rate=1.0): ...`. The arguments are those of
    `junkie_async.emulator.Faults`; the seed is the test's own unless given.
    """
    from junkie_async.pytest_plugin import FaultSwitch

    switch = FaultSwitch(junkie_emulator, _seed(request))
    yield switch
    switch.off()


@pytest.fixture
def junkie_factory(request: pytest.FixtureRequest) -> KeyFactory:
    """Makes keys and folders that look real: `.key()`, `.keys(3, status="used")`, `.folder()`.

    They are the same in each run of a test, in any order of tests. `await .store(key)` puts them
    into `junkie_emulator`, in a test that uses it.
    """
    from junkie_async.pytest_plugin import KeyFactory

    has_emulator = "junkie_emulator" in request.fixturenames
    emulator = request.getfixturevalue("junkie_emulator") if has_emulator else None
    return KeyFactory(_seed(request), emulator)


if _HAS_ASYNCIO:

    @pytest_asyncio.fixture
    async def junkie_client(junkie_emulator: Emulator) -> AsyncIterator[JunkieClient]:
        """A `JunkieClient` of `junkie_emulator`, whose retries don't wait, closed after the test.

        It needs pytest-asyncio, in either mode.
        """
        from junkie_async.pytest_plugin import client_of

        async with client_of(junkie_emulator) as client:
            yield client

else:  # pragma: no cover - likewise

    @pytest.fixture
    def junkie_client() -> None:
        """A `JunkieClient` of `junkie_emulator`; it needs pytest-asyncio, which is missing."""
        words = 'junkie_client needs pytest-asyncio: pip install "junkie_async[pytest]"'
        pytest.fail(words, pytrace=False)
