"""What `verify` remembers: how much, for how long, and what makes it forget."""

from __future__ import annotations

import gc
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import pytest

from junkie_async import HWID, Key
from junkie_async._verification import known_keys
from junkie_async._verification.known_keys import KnownKeys

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return its time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that the test sets."""
    return Clock()


@pytest.fixture
def known(clock: Clock) -> KnownKeys:
    """A memory of an hour."""
    memory = KnownKeys(clock)
    memory.keep_for(3600.0)
    return memory


def value(number: int) -> str:
    """Return a key's value."""
    return f"JNK-{number:08d}-aaaa-bbbb-cccc-dddd"


def key(number: int, devices: int = 1, **fields: Any) -> Key:
    """Make a key with all fields."""
    bound = HWID(hwid="x" * 64, executor_user_id="123456", bound_at=MOMENT, bound_by="verify")
    given = {"key_name": f"order {number}", "discord_id": "123456789012345678", "user_id": number}
    dates = {"created_at": MOMENT, "expires_at": MOMENT, "used_at": MOMENT}
    names = {"service_name": "a service", "provider_name": "a provider", "folder_name": "a folder"}
    lists = {"hwids": (bound,) * devices, "keys_hwid": ("x" * 64,) * devices}
    every: dict[str, Any] = given | dates | names | lists | fields
    return Key(id=number, key_value=value(number), **every)


def remember(known: KnownKeys, clock: Clock, *numbers: int, **fields: Any) -> None:
    """Remember keys as found now."""
    for number in numbers:
        known.remember(value(number), key(number, **fields), clock.now, known.changes)


def knows(known: KnownKeys, number: int, younger_than: float = 3600.0) -> bool:
    """Whether a key is remembered."""
    return known.find(value(number), younger_than) is not None


def test_nothing_unless_asked_for(clock: Clock) -> None:
    """A program whose calls allow no earlier answers keeps none."""
    known = KnownKeys(clock)
    remember(known, clock, 1)
    assert len(known._known) == 0


@pytest.mark.parametrize(
    ("age", "found"), [(0.0, True), (59.9, True), (60.0, False), (-1.0, False)]
)
def test_what_is_too_old(known: KnownKeys, clock: Clock, age: float, found: bool) -> None:
    """Younger than so many seconds, and not from the future of another loop's clock."""
    remember(known, clock, 1)
    clock.now += age
    assert knows(known, 1, 60.0) is found
    assert not knows(known, 1, 0.0)


def test_it_is_kept_for_as_long_as_a_call_has_asked_for(known: KnownKeys, clock: Clock) -> None:
    """Then it is freed, also if nobody asks for it again."""
    remember(known, clock, *range(100))
    clock.now += 3601.0
    remember(known, clock, 100)
    assert len(known._known) == 1
    assert [one.key.id for one in known._known.values()] == [100]


def test_memory_is_bounded(known: KnownKeys, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that nobody has asked for the longest time go first."""
    monkeypatch.setattr(known_keys, "_MAX_SIZE", 100_000)
    known.clear()
    for number in range(500):
        remember(known, clock, number)
        assert knows(known, 0)  # asked for all the time
    assert known._known.currsize <= 100_000
    assert 20 < len(known._known) < 100
    assert not knows(known, 1)
    assert knows(known, 499)
    assert len(known._hashes) <= 2 * len(known._known) + 101


def test_a_key_too_large_for_it(
    known: KnownKeys, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not remembered, and pushes nothing out."""
    monkeypatch.setattr(known_keys, "_MAX_SIZE", 100_000)
    known.clear()
    remember(known, clock, 1)
    remember(known, clock, 2, key_name="x" * 100_000)
    assert (knows(known, 1), knows(known, 2)) == (True, False)


@pytest.mark.parametrize("devices", [0, 1, 20])
def test_the_size_is_that_of_the_memory(known: KnownKeys, clock: Clock, devices: int) -> None:
    """A key takes no more than it counts for, and not much less."""
    count = 500
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(count):
            remember(known, clock, number, devices=0, hwids=copies(number, devices))
        gc.collect()
        taken = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    counted = known._known.currsize
    assert len(known._known) == count
    assert 0.4 * counted < taken < 1.1 * counted


def copies(number: int, devices: int) -> tuple[HWID, ...]:
    """Make devices that share no text, as those read from a response."""
    return tuple(HWID(hwid=f"{number}-{index}".ljust(64, "x")) for index in range(devices))


def test_repetitions_take_no_memory(known: KnownKeys, clock: Clock) -> None:
    """A key that is looked up a thousand times an hour is one entry."""
    for _ in range(1000):
        remember(known, clock, 1, 2)
        clock.now += 0.1
    assert len(known._known) == len(known._hashes) == 2
    assert len(vars(known._known)["_TLRUCache__order"]) < 10


def test_changes_take_no_memory(known: KnownKeys, clock: Clock) -> None:
    """A job may change millions of keys; then look-ups from before are not remembered at all."""
    before = known.changes
    for number in range(25_000):
        known.forget([number])
    assert len(known._changed) <= 10_001
    known.remember(value(24_000), key(24_000), clock.now, before)
    known.remember(value(50_000), key(50_000), clock.now, before)
    assert len(known._known) == 0
    remember(known, clock, 24_000)
    assert knows(known, 24_000)


@pytest.mark.parametrize("name", ["id", "value", "key"])
def test_what_was_read_before_a_change(known: KnownKeys, clock: Clock, name: str) -> None:
    """It is not remembered; what was read of others is."""
    before = known.changes
    known.forget([{"id": 1, "value": value(1), "key": key(1)}[name]])  # type: ignore[list-item]
    for number in (1, 2):
        known.remember(value(number), key(number), clock.now, before)
    assert (knows(known, 1), knows(known, 2)) == (False, True)


def test_any_integer_is_an_id(known: KnownKeys, clock: Clock) -> None:
    """Such as numpy's."""

    class Number:
        def __index__(self) -> int:
            return 1

        def __int__(self) -> int:
            return 1

    remember(known, clock, 1)
    known.forget([Number()])  # type: ignore[list-item]
    assert not knows(known, 1)


def test_a_key_that_has_another_value_now(known: KnownKeys, clock: Clock) -> None:
    """What it was known by before is forgotten."""
    known.remember(value(1), key(1), clock.now, known.changes)
    known.remember(value(2), key(1), clock.now, known.changes)
    assert not knows(known, 1)
    known.forget([1])
    assert not knows(known, 2)


def test_processes_have_their_own_hashes(clock: Clock) -> None:
    """What is found in a memory dump can't be computed from a list of values."""
    one, other = KnownKeys(clock), KnownKeys(clock)
    assert one.hash_value("a") == one.hash_value("a") != other.hash_value("a")
