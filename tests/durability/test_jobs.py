"""What a job with a ledger does when it is misused, interrupted, or let down by its disk."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from junkie_async import (
    BatchError,
    ConfigurationError,
    CreateReport,
    InvalidRequestError,
    JunkieClient,
    OutcomeUnknownError,
    RetryPolicy,
    provisioning,
)
from junkie_async._jobs import ledger
from junkie_async._jobs.create import CreateJob

from .server import PROVIDER, Service

_RETRY = RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.05, wait_jitter=0.01)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """A service without trouble, but for what a test writes into its script."""
    async with Service(foreign=2) as service:
        yield service
        assert not service.wrong


@pytest.fixture
async def client(service: Service) -> AsyncIterator[JunkieClient]:
    """A client of it."""
    async with JunkieClient("jk_test", base_url=service.url, retry=_RETRY) as client:
        yield client


@pytest.fixture
def begin(client: JunkieClient, tmp_path: Path) -> Callable[..., CreateJob]:
    """Make a job, always with the same ledger and arguments, but for those that are given."""

    def begin(amount: int = 300, **fields: Any) -> CreateJob:
        given = {
            "provider_id": PROVIDER,
            "key_name": "launch",
            "concurrency": 2,
            "reconcile_after": 0.25,
        }
        ledger = tmp_path / "ledger.db"
        return client.keys.create_many(amount, **{"ledger": ledger, **given, **fields})

    return begin


def _modes(folder: Path) -> dict[str, int]:
    """Give the files in a folder, and who may read them."""
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def _settled(report: CreateReport, service: Service, amount: int) -> bool:
    """Whether there are so many keys, and the report has each of them once."""
    service.catch_up()
    return sorted(report.keys) == sorted(service.values()) and len(report.keys) == amount


async def test_a_second_job_on_a_ledger_is_refused(
    service: Service, begin: Callable[..., CreateJob]
) -> None:
    """Who holds the ledger keeps it, and is not disturbed."""
    first = begin()
    async with aclosing(aiter(first)) as batches:
        await anext(batches)
        with pytest.raises(ConfigurationError, match="another job"):
            await begin()
        async for _ in batches:
            pass
    assert _settled(first.report, service, 300)
    assert _settled(await begin(), service, 300)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("amount", {"amount": 301}),
        ("provider_id", {"provider_id": 8}),
        ("key_name", {"key_name": "lunch"}),
        ("is_premium", {"is_premium": True}),
        ("marker", {"marker": "mine"}),
        ("marker", {"marker": None}),
    ],
)
async def test_other_arguments_than_the_ledgers_are_refused(
    field: str, change: dict[str, Any], service: Service, begin: Callable[..., CreateJob]
) -> None:
    """The error names the field, and nothing is sent."""
    await begin()
    before = service.requests.copy()
    with pytest.raises(InvalidRequestError) as caught:
        await begin(**change)
    assert caught.value.field == field
    assert service.requests == before


async def test_another_service_than_the_ledgers_is_refused(
    service: Service, begin: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """A ledger of the live service is not taken up at a test server."""
    await begin()
    async with Service() as other, JunkieClient("jk_test", base_url=other.url) as client:
        job = client.keys.create_many(
            300, provider_id=PROVIDER, key_name="launch", ledger=tmp_path / "ledger.db"
        )
        with pytest.raises(InvalidRequestError, match="base_url"):
            await job
        assert not other.requests


async def test_patience_and_pace_may_differ_from_run_to_run(
    service: Service, begin: Callable[..., CreateJob]
) -> None:
    """What does not change the keys does not tell one job from another."""
    async with aclosing(aiter(begin())) as batches:
        await anext(batches)
    assert _settled(await begin(reconcile_after=0.3, concurrency=5), service, 300)


async def test_without_markers_an_unknown_outcome_stays_unknown(
    service: Service, begin: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """The name stays as it is, nothing is guessed, and running it again does not help."""
    service.script.extend(["healthy", "unanswered"])
    for _ in range(2):
        with pytest.raises(BatchError) as caught:
            await begin(marker=None, concurrency=1)
        report: CreateReport = caught.value.report
        assert isinstance(caught.value.__cause__, OutcomeUnknownError)
        assert report.unknown == 100
        assert report.created + report.failed + report.unknown == 300
        assert set(report.keys) <= set(service.values())
        assert len(set(report.keys)) == report.created
    assert {row.name for row in service.rows.values() if not row.foreign} == {"launch"}
    assert service.requests["GET /keys"] == 0
    assert len(service.values()) == report.created + 100
    assert not provisioning.status(tmp_path / "ledger.db").done


async def test_its_files_are_for_the_owner_alone_and_tell_of_it_meanwhile(
    service: Service, begin: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """All of SQLite's files have mode 0600; `status` reads them while the job runs."""
    job = begin(amount=1000)
    async with aclosing(aiter(job)) as batches:
        await anext(batches)
        modes = _modes(tmp_path)
        status = provisioning.status(tmp_path / "ledger.db")
        async for _ in batches:
            pass
    assert {"ledger.db", "ledger.db.lock", "ledger.db-shm", "ledger.db-wal"} <= set(modes)
    assert set(modes.values()) == {0o600}
    assert status.requested == 1000
    assert 100 <= status.created < 1000
    assert not status.done
    assert status.arguments["key_name"] == "launch"
    assert provisioning.status(tmp_path / "ledger.db").done


@pytest.mark.parametrize("kind", ["garbage", "database", "folder", "nowhere"])
async def test_a_file_that_is_no_ledger_is_refused_and_left_alone(
    kind: str, service: Service, begin: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """The job does not begin, and nothing is sent or written over."""
    path = tmp_path / "ledger.db"
    if kind == "garbage":
        path.write_bytes(b"not a database at all" * 100)
    elif kind == "database":
        with sqlite3.connect(path) as file:
            file.execute("CREATE TABLE bills (cents INTEGER)")
        file.close()
    elif kind == "folder":
        path.mkdir()
    else:
        path = tmp_path / "nowhere" / "ledger.db"
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(ConfigurationError):
        await begin(ledger=path)
    with pytest.raises(ConfigurationError):
        provisioning.status(path)
    assert before == (path.read_bytes() if path.is_file() else None)
    assert not service.requests


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
async def test_a_disk_that_fails_ends_the_job_and_loses_nothing(
    writes: int,
    service: Service,
    begin: Callable[..., CreateJob],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is given that is not on record; with room on the disk the job goes on."""
    given: list[str] = []
    commit, left = ledger._commit_batch, writes

    def failing(db: sqlite3.Connection, statements: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise sqlite3.OperationalError("database or disk is full")
        commit(db, statements)

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "_commit_batch", failing)
        with pytest.raises(BatchError, match="disk is full") as caught:
            async for batch in begin(amount=800):
                given += batch.keys
    ended: CreateReport = caught.value.report
    assert set(given) <= set(ended.keys)
    assert ended.created + ended.failed + ended.unknown == 800
    assert ended.created + ended.unknown >= len(service.values())
    report = await begin(amount=800)
    assert _settled(report, service, 800)
    assert set(given) <= set(report.keys)


async def test_a_cancelled_job_is_taken_up_again(
    service: Service, begin: Callable[..., CreateJob]
) -> None:
    """Whatever was in flight is found."""
    service.script.extend(["slow to answer"] * 10)
    for calls in (1, 4, 6):
        job = asyncio.ensure_future(_await(begin(amount=800)))
        while service.requests["POST /keys/batch"] < calls:
            await asyncio.sleep(0)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
    assert _settled(await begin(amount=800), service, 800)


async def test_a_job_whose_reader_leaves_is_taken_up_again(
    service: Service, begin: Callable[..., CreateJob]
) -> None:
    """The next run gives what the reader had first, then the rest."""
    async with aclosing(aiter(begin(amount=1000))) as batches:
        had = (await anext(batches)).keys
    again = [key async for batch in begin(amount=1000) for key in batch.keys]
    assert again[:100] == list(had)
    assert len(again) == len(set(again)) == 1000
    assert sorted(again) == sorted(service.values())


async def test_a_name_without_room_for_the_marker_is_refused_at_once(
    service: Service, begin: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """Before a file is made, or anything sent; without a marker there is room."""
    with pytest.raises(InvalidRequestError, match="key_name"):
        begin(key_name="x" * 250)
    assert not _modes(tmp_path)
    assert not service.requests
    assert _settled(await begin(key_name="x" * 255, marker=None), service, 300)


@pytest.mark.parametrize("way", ["healthy", "lost", "unanswered", "late", "twice", "fewer"])
async def test_a_job_of_one_key(
    way: str, service: Service, begin: Callable[..., CreateJob]
) -> None:
    """One key is one key, whatever becomes of the first call; done again, nothing is sent."""
    service.script.append(way)
    report = await begin(amount=1)
    assert _settled(report, service, 1)
    before = service.requests.copy()
    assert (await begin(amount=1)).keys == report.keys
    assert service.requests == before


@pytest.mark.parametrize("way", ["fewer", "fewer told", "rest late"])
async def test_an_answer_with_fewer_keys_than_asked_for(
    way: str, service: Service, begin: Callable[..., CreateJob]
) -> None:
    """Its keys are given, and the others found or made; none is given twice."""
    service.script.extend([way, way])
    given = [key async for batch in begin() for key in batch.keys]
    service.catch_up()
    assert len(given) == len(set(given)) == 300
    assert sorted(given) == sorted(service.values())


async def test_an_outage_ends_the_job_for_now(
    service: Service, begin: Callable[..., CreateJob]
) -> None:
    """It gives up after a few rounds without a key, and says what it does not know."""
    service.script.extend(["failed before"] * 200)
    with pytest.raises(BatchError) as caught:
        await begin(reconcile_after=0.01)
    report: CreateReport = caught.value.report
    assert (report.created, report.failed + report.unknown) == (0, 300)
    service.script.clear()
    assert _settled(await begin(), service, 300)


async def test_a_ledger_may_be_moved_between_runs(
    service: Service, begin: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """Its name is no part of the job."""
    report = await begin()
    moved = shutil.move(tmp_path / "ledger.db", tmp_path / "kept.db")
    assert (await begin(ledger=moved)).keys == report.keys


async def _await(job: CreateJob) -> CreateReport:
    return await job


async def test_keys_of_others_that_come_and_go_hide_none_of_the_jobs(
    service: Service, begin: Callable[..., CreateJob]
) -> None:
    """The same key slips from page 2 to page 1 between the two, in one pass after the other."""
    service.script.append("unanswered")
    theirs: list[str] = []

    def come(page: int) -> None:
        if page == 1:
            theirs[:] = service.make(1, "", foreign=True)
        elif page == 2 and theirs:
            gone = theirs.pop()
            (key_id,) = [row.id for row in service.rows.values() if row.value == gone]
            del service.rows[key_id]

    service.before_page = come
    with contextlib.suppress(BatchError):  # the list may be said to drift too fast
        await begin(amount=100)
    service.before_page = lambda page: None
    assert _settled(await begin(amount=100), service, 100)
