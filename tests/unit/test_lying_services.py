"""Services that lie about their pagination: a walk gives all keys, or it raises."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from junkie_async import BatchError, InvalidResponseError, JunkieError, KeyPager
from junkie_async.export import export_keys

from .lying_service import Lie, Listing, LyingService, Matches, Row, Slice, slice_filtered

T = TypeVar("T")

_SERVED = 50  # rows a page, of services that grant fewer than they say


def _cap(most: int) -> Lie:
    return Lie(
        state=lambda at: at.state(
            total=min(most, at.total), totalPages=-(-min(most, at.total) // at.limit)
        )
    )


def _at_page(number: int, lie: Callable[[Listing], dict[str, Any] | None]) -> Lie:
    """Lie once, at one page."""
    told: list[int] = []

    def state(at: Listing) -> dict[str, Any] | None:
        if at.page != number or told:
            return at.state()
        told.append(number)
        return lie(at)

    return Lie(state=state)


def _serve(size: int) -> Slice:
    """Serve fewer rows a page than were requested."""
    return lambda rows, matches, page, limit: slice_filtered(rows, matches, page, min(size, limit))


def _filter_late(rows: list[Row], matches: Matches, page: int, limit: int) -> list[Row]:
    return list(filter(matches, rows[(page - 1) * limit : page * limit]))


def _filter_late_in_runs(rows: list[Row], matches: Matches, page: int, limit: int) -> list[Row]:
    """Filter late, where the matching rows come last: the first pages are empty."""
    return _filter_late(sorted(rows, key=matches), matches, page, limit)


def _with_gaps(rows: list[Row], matches: Matches, page: int, limit: int) -> list[Row]:
    """Leave every third page empty; what it should have is on the next one."""
    return [] if page % 3 == 2 else slice_filtered(rows, matches, page - page // 3, limit)


def _with_short_pages(rows: list[Row], matches: Matches, page: int, limit: int) -> list[Row]:
    """Serve 70 and 100 rows in turn."""
    sizes = [min(limit, 70 if number % 2 else 100) for number in range(1, page + 1)]
    begin = sum(sizes[:-1])
    return list(filter(matches, rows))[begin : begin + sizes[-1]]


def _clamp(rows: list[Row], matches: Matches, page: int, limit: int) -> list[Row]:
    """Serve the last page in place of those beyond it."""
    last = max(1, -(-sum(map(matches, rows)) // limit))
    return slice_filtered(rows, matches, min(page, last), limit)


LIES: dict[str, Callable[[], Lie]] = {
    "the truth": Lie,
    "total 0": lambda: Lie(state=lambda at: at.state(total=0)),
    "total -1": lambda: Lie(state=lambda at: at.state(total=-1)),
    "total 0, totalPages 0": lambda: Lie(state=lambda at: at.state(total=0, totalPages=0)),
    "total -1, totalPages -1": lambda: Lie(state=lambda at: at.state(total=-1, totalPages=-1)),
    "total of the page": lambda: Lie(state=lambda at: at.state(total=at.rows)),
    "total and totalPages of the page": lambda: Lie(
        state=lambda at: at.state(total=at.rows, totalPages=1)
    ),
    "total so far": lambda: Lie(
        state=lambda at: at.state(total=(at.page - 1) * at.limit + at.rows, totalPages=at.page)
    ),
    "total capped at 100": lambda: _cap(100),
    "total capped at 120": lambda: _cap(120),
    "total capped at 300": lambda: _cap(300),
    "total one too low": lambda: Lie(state=lambda at: at.state(total=max(0, at.total - 1))),
    "total one too high": lambda: Lie(state=lambda at: at.state(total=at.total + 1)),
    "total too high": lambda: Lie(state=lambda at: at.state(total=1000, totalPages=10)),
    "total far too high": lambda: Lie(state=lambda at: at.state(total=10**9)),
    "totalPages 0": lambda: Lie(state=lambda at: at.state(totalPages=0)),
    "totalPages -1": lambda: Lie(state=lambda at: at.state(totalPages=-1)),
    "totalPages 1": lambda: Lie(state=lambda at: at.state(totalPages=1)),
    "totalPages rounded down": lambda: Lie(
        state=lambda at: at.state(totalPages=at.total // at.limit)
    ),
    "totalPages too high": lambda: Lie(state=lambda at: at.state(totalPages=9)),
    "only totalPages, 0": lambda: Lie(state=lambda at: {"totalPages": 0}),
    "only totalPages, rounded down": lambda: Lie(
        state=lambda at: {"totalPages": at.total // at.limit}
    ),
    "only totalPages, too high": lambda: Lie(state=lambda at: {"totalPages": 9}),
    "only totals, as strings": lambda: Lie(
        state=lambda at: {"total": str(at.total), "totalPages": str(-(-at.total // at.limit))}
    ),
    "no pagination": lambda: Lie(state=lambda at: None),
    "an empty pagination": lambda: Lie(state=lambda at: {}),
    "random totals": lambda: Lie(state=lambda at: at.state(total=at.dice.randrange(1000))),
    "random totals, all too high": lambda: Lie(
        state=lambda at: at.state(total=at.dice.randrange(10**6, 10**9), totalPages=None)
    ),
    "random totals and pages": lambda: Lie(
        state=lambda at: at.state(total=at.dice.randrange(1000), totalPages=at.dice.randrange(10))
    ),
    "one total 0, at page 1": lambda: _at_page(1, lambda at: at.state(total=0, totalPages=0)),
    "one total 0, at page 2": lambda: _at_page(2, lambda at: at.state(total=0, totalPages=0)),
    "one total 0, at page 4": lambda: _at_page(4, lambda at: at.state(total=0, totalPages=0)),
    "one without pagination": lambda: _at_page(2, lambda at: None),
    "no page": lambda: Lie(state=lambda at: at.state(page=None)),
    "page always 1": lambda: Lie(state=lambda at: at.state(page=1)),
    "pages from 0": lambda: Lie(state=lambda at: at.state(page=at.page - 1)),
    "limit 10": lambda: Lie(state=lambda at: at.state(limit=10)),
    "limit 1000": lambda: Lie(state=lambda at: at.state(limit=1000, totalPages=1)),
    "limit 0": lambda: Lie(state=lambda at: at.state(limit=0)),
    "limit -1": lambda: Lie(state=lambda at: at.state(limit=-1)),
    "50 rows, all right but the limit": lambda: Lie(
        slice=_serve(_SERVED), state=lambda at: at.state(totalPages=-(-at.total // _SERVED))
    ),
    "50 rows, 100 stated": lambda: Lie(slice=_serve(_SERVED)),
    "50 rows, only a total": lambda: Lie(
        slice=_serve(_SERVED), state=lambda at: {"total": at.total}
    ),
    "50 rows, only totalPages": lambda: Lie(
        # One page of 50 keys that states one page is no lie that shows.
        slice=_serve(_SERVED),
        state=lambda at: {"totalPages": 1 + at.total // at.limit},
    ),
    "50 rows, nothing stated": lambda: Lie(slice=_serve(_SERVED), state=lambda at: None),
    "50 rows, total of the page": lambda: Lie(
        slice=_serve(_SERVED), state=lambda at: at.state(total=at.rows, totalPages=7)
    ),
    "filtered late, totals of all": lambda: Lie(
        slice=_filter_late,
        state=lambda at: at.state(
            total=at.total_unfiltered, totalPages=-(-at.total_unfiltered // at.limit)
        ),
    ),
    "filtered late, totals filtered": lambda: Lie(slice=_filter_late),
    "filtered late, nothing stated": lambda: Lie(slice=_filter_late, state=lambda at: None),
    "filtered late, empty pages first, totals of all": lambda: Lie(
        slice=_filter_late_in_runs,
        state=lambda at: at.state(
            total=at.total_unfiltered, totalPages=-(-at.total_unfiltered // at.limit)
        ),
    ),
    "filtered late, empty pages first, totals filtered": lambda: Lie(slice=_filter_late_in_runs),
    "filtered late, empty pages first, nothing stated": lambda: Lie(
        slice=_filter_late_in_runs, state=lambda at: None
    ),
    "empty pages amid": lambda: Lie(slice=_with_gaps),
    "short pages amid": lambda: Lie(slice=_with_short_pages),
    "short pages amid, nothing stated": lambda: Lie(slice=_with_short_pages, state=lambda at: None),
    "the last page again": lambda: Lie(slice=_clamp, state=lambda at: at.state(page=None)),
    "404 beyond the end": lambda: Lie(no_page=True),
    "404 beyond the end, totalPages rounded down": lambda: Lie(
        no_page=True, state=lambda at: at.state(totalPages=at.total // at.limit)
    ),
}


FIRST_EMPTY = {
    stated: f"filtered late, empty pages first, {stated}"
    for stated in ("totals of all", "totals filtered", "nothing stated")
}


async def _attempt(call: Awaitable[T]) -> T | JunkieError:
    """Return a call's result, or the error that it raises."""
    try:
        return await call
    except JunkieError as error:
        return error


def _is_right(result: object, right: object) -> bool:
    return isinstance(result, JunkieError) or result == right


async def _count(pager: KeyPager) -> int:
    """Walk to the end; no key is given twice."""
    found = [key.id async for key in pager]
    assert len(found) == len(set(found))
    return len(found)


@pytest.mark.parametrize("filters", [{}, {"status": "active"}], ids=["all", "active"])
@pytest.mark.parametrize("lie", LIES)
async def test_no_wrong_number_is_reported_as_right(lie: str, filters: dict[str, Any]) -> None:
    """Walks, counts, exports and purges give all keys, or they raise and nothing is deleted."""
    for amount, prefetch in ((1, 1), (50, 4), (100, 1), (350, 4)):
        service = LyingService(LIES[lie](), amount)
        right = sum(not (filters and row["is_invalidated"]) for row in service.rows.values())

        def start(**options: Any) -> KeyPager:
            service.lie, service.lists = LIES[lie](), 0  # noqa: B023 - called in this round
            return service.keys.list(prefetch=prefetch, **options, **filters)  # noqa: B023

        assert _is_right(await _attempt(_count(start())), right)
        assert service.lists <= 10 * (amount // 100 + 1) + 80
        assert _is_right(await _attempt(_count(start(strict=True))), right)
        assert _is_right(await _attempt(start().count()), right)
        assert await _attempt(start().first()) is not None
        export = export_keys(start(), io.StringIO(), format="jsonl")
        assert _is_right(await _attempt(export), right)
        start().close()
        given: dict[str, Any] = filters or {"provider_id": 1}
        report = await _attempt(service.keys.purge(**given))
        gone = amount - len(service.rows)
        assert gone == (0 if isinstance(report, JunkieError) else report.deleted)
        assert gone in (0, right)
        assert isinstance(report, JunkieError) or gone == right


_SOUND = {  # the keys themselves tell enough
    "total -1",
    "total so far",
    "totalPages 0",
    "totalPages rounded down",
    "one total 0, at page 2",
    "one without pagination",
    "no pagination",
    "50 rows, 100 stated",
    "50 rows, nothing stated",
    "filtered late, totals filtered",
    "empty pages amid",
    "short pages amid",
    "the last page again",
    "404 beyond the end",
}


@pytest.mark.parametrize("lie", sorted(_SOUND))
async def test_a_purge_works_where_the_keys_agree_with_the_total(lie: str) -> None:
    """A number that another one disproves, or that is missing, stops nothing."""
    service = LyingService(LIES[lie](), 350)
    assert (await service.keys.purge(status="active")).deleted == 175


@pytest.mark.parametrize("lie", ["total 0", "total capped at 100", "total too high"])
async def test_a_contradiction_is_told_where_it_is_no_error(lie: str) -> None:
    """`drift` counts the pages; a strict walk raises after it has given all keys."""
    service = LyingService(LIES[lie](), 350)
    pager = service.keys.list()
    assert len(await pager.collect()) == 350
    assert pager.drift
    assert pager.drift.contradictions
    with pytest.raises(InvalidResponseError):
        await service.keys.list(strict=True).collect()
    deletion = service.keys.delete_many(service.keys.list())
    with pytest.raises(BatchError):
        await deletion
    assert len(service.rows) == 350


async def test_pages_that_are_refused_are_missed() -> None:
    """Beyond 300 keys the pages are empty: only the total tells that there are more."""

    def refuse(rows: list[Row], matches: Matches, page: int, limit: int) -> list[Row]:
        return slice_filtered(rows, matches, page, limit) if page * limit <= 300 else []

    service = LyingService(Lie(slice=refuse), 700)
    pager = service.keys.list()
    assert len(await pager.collect()) == 300
    assert pager.drift.contradictions == 4
    for call in (
        service.keys.list().count(),
        service.keys.purge(everything=True),
        export_keys(service.keys.list(), io.StringIO(), format="jsonl"),
    ):
        assert isinstance(await _attempt(call), InvalidResponseError)
    assert len(service.rows) == 700


@pytest.mark.parametrize("lie", LIES)
async def test_a_job_settles_exactly_or_fails(lie: str, tmp_path: Path) -> None:
    """The answers of two calls of five are lost, and their keys must be found."""
    service = LyingService(LIES[lie](), 350, lost=(2, 4))
    job = service.keys.create_many(
        500, provider_id=1, ledger=tmp_path / "job.db", reconcile_after=0, concurrency=1
    )
    report = await _attempt(job)
    made = len(service.rows) - 350
    assert made <= 500
    if not isinstance(report, JunkieError):
        assert (report.created, made) == (500, 500)


@pytest.mark.parametrize("stated", ["totals of all", "totals filtered", "nothing stated"])
async def test_the_first_key_behind_empty_pages(stated: str) -> None:
    """A filter that is applied to a page that was cut before it leaves empty pages at first."""
    service = LyingService(LIES[FIRST_EMPTY[stated]](), 350)
    first = await service.keys.list(status="active").first()
    assert first is not None
    assert first.id == 1
    assert len(await service.keys.list(status="active").collect()) == 175


async def test_an_unfiltered_list_that_states_nothing_ends_at_its_first_empty_page() -> None:
    """A filtered one has ten empty pages in a row, since others may follow them."""
    service = LyingService(Lie(state=lambda at: None), 200)
    assert len(await service.keys.list().collect()) == 200
    assert service.lists == 3
    assert len(await service.keys.list(status="active").collect()) == 100
    assert service.lists == 3 + 11
