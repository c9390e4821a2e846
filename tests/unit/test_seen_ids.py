"""SeenIDs against a plain set."""

from __future__ import annotations

import random
import sys
import tracemalloc
from itertools import compress, count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from junkie_async import Key, KeyPage
from junkie_async._pagination.list_pass import drop_seen
from junkie_async._pagination.seen_ids import SeenIDs

from ..cpu_time import run_within


def new_ids(pages: list[list[int]]) -> list[int]:
    """Return the IDs that SeenIDs reports as new, page by page."""
    seen, found = SeenIDs(), []
    for ids in pages:
        indexes = seen.add_page(ids)
        found += ids if indexes is None else [ids[index] for index in indexes]
    return found


PAGES = st.lists(st.lists(st.integers(-5, 60) | st.integers(0, 2**40), max_size=8), max_size=12)


@given(PAGES)
def test_it_agrees_with_a_set(pages: list[list[int]]) -> None:
    """Each ID is new exactly the first time."""
    assert new_ids(pages) == list(dict.fromkeys(key_id for ids in pages for key_id in ids))


@given(
    st.lists(st.integers(1, 10**6), unique=True, min_size=1).map(sorted),
    st.booleans(),
    st.integers(1, 7),
    st.lists(st.integers(0, 50), max_size=10),
)
def test_overlapping_pages_in_order(
    ids: list[int], falls: bool, limit: int, shifts: list[int]
) -> None:
    """Pages in order may overlap: inserts during a walk cause that."""
    ids = ids[::-1] if falls else ids
    pages, at = [], 0
    for shift in [*shifts, *[0] * len(ids)]:
        at = max(0, at - shift)
        pages.append(ids[at : at + limit])
        at += limit
    assert new_ids(pages) == list(dict.fromkeys(key_id for page in pages for key_id in page))


RUNS = st.builds(
    lambda first, count, step: [first + step * at for at in range(count)],
    st.integers(-5, 60) | st.integers(2**63 - 5, 2**63),
    st.integers(0, 8),
    st.sampled_from([1, -1, 2]),
)


@given(st.lists(RUNS | st.lists(st.integers(-5, 60), max_size=8), max_size=12))
def test_pages_of_consecutive_keys(pages: list[list[int]]) -> None:
    """A page whose IDs follow on each other, up or down, has its new keys only, as any other."""
    seen, found = SeenIDs(), []
    for ids in pages:
        page = KeyPage(keys=tuple(Key(id=key_id, key_value="v") for key_id in ids))
        found += [key.id for key in drop_seen(page, seen).keys]
    assert found == list(dict.fromkeys(key_id for ids in pages for key_id in ids))


def test_the_id_0() -> None:
    """It is an ID like any other, with the marks and beyond them."""
    assert new_ids([[5, 3, 9], [0], [0], [2**60, 0], [1, 0]]) == [5, 3, 9, 0, 2**60, 1]


@pytest.mark.parametrize("sign", [1, -1])
def test_an_order_that_starts_over(sign: int) -> None:
    """Premium keys first, then the others, each in order: a watermark would lose the others."""
    premium = [sign * key_id for key_id in range(0, 3000, 3)]
    others = [sign * key_id for key_id in range(3000) if key_id % 3]
    pages = [run[at : at + 100] for run in (premium, others) for at in range(0, len(run), 100)]
    assert new_ids(pages) == premium + others


@pytest.mark.parametrize(
    ("step", "most"), [(1, 0.5), (50, 2.5), (1000, 3.5), (10**6, 5.5), (2**40, 9.5)]
)
def test_ids_in_order_take_little_memory(step: int, most: float) -> None:
    """In order, an ID takes a few bytes at most."""
    seen, noise = SeenIDs(), random.Random(1)
    for page in range(500):
        ids = [
            (page * 100 + at) * step + (noise.randrange(step) if step > 1 else 0)
            for at in range(100)
        ]
        assert seen.add_page(ids) is None
    blocks = {id(block): sys.getsizeof(block) for block in seen._steps}
    size = sum(blocks.values()) + sys.getsizeof(seen._starts) + sys.getsizeof(seen._steps)
    assert seen._plain is None
    assert size / 50_000 < most


def test_marks_take_over_once_the_ids_are_out_of_order() -> None:
    """After the first page out of order nothing is kept in steps, even if order returns."""
    seen = SeenIDs()
    assert seen.add_page(list(range(100, 200))) is None
    assert seen.add_page([150, *range(200, 299)]) == list(range(1, 100))  # a repeat is no disorder
    assert seen._steps
    assert seen.add_page([7, 300, 5]) is None
    assert seen.add_page(list(range(1000, 1100))) is None
    assert not seen._steps
    assert not seen._starts
    assert seen._plain is not None
    marked = set(compress(count(), seen._plain._marks))
    assert marked == {5, 7, 300, *range(100, 299), *range(1000, 1100)}


def test_ids_at_random_take_a_byte_each() -> None:
    """Where the IDs come out of order, but are those of a list, a walk takes a tenth of a set."""
    seen, ids = SeenIDs(), [*range(1, 200_001)]
    random.Random(1).shuffle(ids)
    for at in range(0, len(ids), 100):
        assert seen.add_page(ids[at : at + 100]) is None
    assert seen._plain is not None
    assert len(seen._plain._marks) < 1.3 * len(ids)
    assert seen.add_page([*ids[:50], 200_001, 200_001]) == [50]
    assert seen.add_page([]) is None


@pytest.mark.parametrize("far", [-1, 2**40, 2**63 - 1, 2**64 - 1, 2**64, 2**70])
def test_ids_far_apart_are_told_apart(far: int) -> None:
    """An ID for which the marks would take too much memory, or that they can't have."""
    seen = SeenIDs()
    assert seen.add_page([5, 3, 9]) is None
    assert seen.add_page([far, 5, 4]) == [0, 2]
    assert seen.add_page([3, far, 4, 10, far]) == [3]
    assert seen.add_page([far + 1, 2**50, 5, far]) == [0, 1]
    assert seen.add_page([far + 2, 7]) is None


def test_ids_far_apart_take_little_memory() -> None:
    """At random, all over 64 bits: in an eighth of what a set takes."""
    seen, noise = SeenIDs(), random.Random(1)
    ids = [*{noise.randrange(2**63) for _ in range(20_000)}]
    for at in range(0, len(ids), 100):
        assert seen.add_page(ids[at : at + 100]) is None
    assert seen._plain is not None
    assert seen._plain._far is not None
    buckets = seen._plain._far._buckets
    assert sum(map(len, buckets.values())) == 8 * len(ids)
    assert len(buckets) <= 2**15
    assert seen.add_page([*ids[:50], 5, 5]) == [50]


def test_a_long_list_whose_order_ends_takes_no_set() -> None:
    """What was kept in steps is marked page by page."""
    seen, amount = SeenIDs(), 100_000
    for at in range(amount, 0, -100):
        assert seen.add_page([*range(at, at - 100, -1)]) is None
    tracemalloc.start()
    try:
        assert seen.add_page([amount, amount + 2, amount + 1]) == [1, 2]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * amount
    assert seen.add_page([1, amount + 1, amount + 3]) == [2]


def test_a_large_page_out_of_order_takes_linear_time() -> None:
    """40,000 IDs in order, then the same ones backwards and others: as fast as a set, not 25 s."""
    ids = list(range(0, 80_000, 2))

    def add_pages() -> None:
        seen = SeenIDs()
        assert seen.add_page(ids) is None
        assert seen.add_page(ids[::-1]) == []
        assert seen.add_page([key_id + 1 for key_id in ids[::-1]]) is None
        assert seen.add_page(ids) == []

    run_within(1, add_pages)
