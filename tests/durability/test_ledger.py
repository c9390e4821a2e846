"""Jobs with a ledger that are misused, interrupted, or let down by the disk."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from junkie_async import (
    BatchError,
    ConfigurationError,
    CreateReport,
    InvalidRequestError,
    InvalidResponseError,
    JunkieClient,
    OutcomeUnknownError,
    RetryPolicy,
    TransportError,
    provisioning,
)
from junkie_async._http.created_keys import CreatedKeys
from junkie_async._jobs import sqlite_record
from junkie_async._jobs.create import CreateJob
from junkie_async._jobs.key_hashes import LoggedValues
from junkie_async._jobs.ledger import Ledger
from junkie_async._jobs.reconcile import Reconciler
from junkie_async._jobs.sqlite_record import SqliteStore

from . import server
from .server import PROVIDER, RECONCILE_AFTER, Exchange, Row, Service

_RETRY = RetryPolicy(attempts=3, wait_initial=0.01, wait_max=0.05, wait_jitter=0.01, outage=0.0)


@pytest.fixture
async def client(service: Service) -> AsyncIterator[JunkieClient]:
    """A client of the service."""
    async with JunkieClient("jk_test", base_url=service.url, retry=_RETRY) as client:
        yield client


@pytest.fixture
def make_job(client: JunkieClient, tmp_path: Path) -> Callable[..., CreateJob]:
    """Return a function that makes a job, with the same ledger and arguments each time."""

    def make(amount: int = 300, **fields: Any) -> CreateJob:
        defaults: dict[str, Any] = {
            "ledger": tmp_path / "ledger.db",
            "provider_id": PROVIDER,
            "key_name": "launch",
            "concurrency": 2,
            "reconcile_after": RECONCILE_AFTER,
        }
        return client.keys.create_many(amount, **{**defaults, **fields})

    return make


def _modes(folder: Path) -> dict[str, int]:
    """Return the mode of each file in a folder."""
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def _is_exact(report: CreateReport, service: Service, amount: int) -> bool:
    """Whether the service has that many keys, and the report has each of them once."""
    service.catch_up()
    return sorted(report.keys) == sorted(service.values()) and len(report.keys) == amount


async def test_what_a_ledger_has_of_an_earlier_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys in order, the calls that are open with their markers, and for how long."""
    moment = 1_800_000_000.0
    monkeypatch.setattr("time.time", lambda: moment)

    def make_ledger() -> Ledger:
        record = SqliteStore(tmp_path / "ledger.db").make_record(None, waits=False)
        return Ledger(record, {"amount": 500}, "jk", folder=tmp_path)

    ledger = make_ledger()
    await ledger.open()
    assert (ledger.created, ledger.begun, ledger.open_intents) == (0, moment, {})
    done, doubted, short = await ledger.log_intents([100, 100, 100])
    keys = [f"K{at}" for at in range(250)]
    assert ledger.log_result(done, keys[:100], final=True)
    length, read_keys = ledger.snapshot_keys()
    assert ledger.log_result(short, keys[100:150], final=False)
    assert ledger.log_result(doubted, keys[150:], final=False)
    assert not ledger.log_result(short, keys[:1], final=True)
    assert ledger.suspects == {short.marker: short, doubted.marker: doubted}
    assert (length, read_keys()) == (100, tuple(keys[:100]))
    await ledger.close()
    moment += 0.5
    again = make_ledger()
    await again.open()
    assert (again.created, again.begun, again.doubted_for) == (250, moment - 0.5, 0.5)
    assert again.snapshot_keys()[1]() == tuple(keys)
    assert [key async for part in again.replay() for key in part] == keys
    assert {*again.open_intents} == {short.number, doubted.number}
    for intent in (short, doubted):
        loaded = again.open_intents[intent.number]
        assert loaded.marker == intent.marker
        assert (loaded.outstanding, loaded.in_doubt) == (intent.outstanding, True)
        assert again.suspects[str(intent.marker)] is loaded
        assert again.find_intent(str(intent.marker)) == intent.number
    assert done.marker is not None
    assert again.find_intent(done.marker) == 0
    assert again.find_intent(f"{done.marker[:-1]}3") is None  # a call that it does not have
    assert again.find_intent("jk-another.0") is None
    (later,) = await again.log_intents([1])
    assert (later.number, later.marker) == (3, f"{done.marker[:-1]}3")
    await again.close()


async def _refuse(exchange: Exchange) -> None:
    await exchange.send(400, {"error": "No"})


async def test_what_a_failed_job_has_not_sent_is_not_in_doubt(
    service: Service,
    make_job: Callable[..., CreateJob],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next run sends it at once, and looks for no keys."""
    monkeypatch.setitem(server.FAULTS, "refused", _refuse)
    service.script.extend(["healthy", "refused"])
    with pytest.raises(BatchError) as caught:
        await make_job(2000)
    status = provisioning.status(tmp_path / "ledger.db")
    assert (status.open, status.created) == (0, caught.value.report.created)
    assert caught.value.report.unknown == 0
    assert _is_exact(await make_job(2000), service, 2000)
    assert "GET /keys" not in service.requests


async def test_a_second_job_on_a_ledger_is_refused(
    service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """The first job keeps the ledger, and ends undisturbed."""
    first = make_job()
    async with aclosing(aiter(first)) as batches:
        await anext(batches)
        with pytest.raises(ConfigurationError):
            await make_job()
        async for _ in batches:
            pass
    assert _is_exact(first.report, service, 300)
    assert _is_exact(await make_job(), service, 300)


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
async def test_a_ledger_of_other_arguments_is_refused(
    field: str, change: dict[str, Any], service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """The error names the field, and nothing is sent."""
    await make_job()
    before = service.requests.copy()
    with pytest.raises(InvalidRequestError) as caught:
        await make_job(**change)
    assert caught.value.field == field
    assert service.requests == before


async def test_a_ledger_of_another_service_is_refused(
    service: Service, make_job: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """A ledger of the live service is not resumed at a test server."""
    await make_job()
    async with Service() as other, JunkieClient("jk_test", base_url=other.url) as client:
        job = client.keys.create_many(
            300, provider_id=PROVIDER, key_name="launch", ledger=tmp_path / "ledger.db"
        )
        with pytest.raises(InvalidRequestError) as caught:
            await job
        assert caught.value.field == "base_url"
        assert not other.requests


async def test_reconcile_after_and_concurrency_may_differ(
    service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """Arguments that don't change the keys don't distinguish jobs."""
    async with aclosing(aiter(make_job())) as batches:
        await anext(batches)
    assert _is_exact(await make_job(reconcile_after=0.3, concurrency=5), service, 300)


async def test_without_markers_an_unknown_outcome_stays_unknown(
    service: Service, make_job: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """The name has no marker, nothing is guessed, and running the job again does not help."""
    service.script.extend(["healthy", "no response"])
    for _ in range(2):
        with pytest.raises(BatchError) as caught:
            await make_job(marker=None, concurrency=1)
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


async def test_only_the_owner_may_read_its_files_and_status_works_meanwhile(
    service: Service, make_job: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """All of SQLite's files have mode 0600; `status` reads them while the job runs."""
    job = make_job(amount=1000)
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
async def test_a_file_that_is_not_a_ledger_is_refused_and_not_changed(
    kind: str, service: Service, make_job: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """The job does not begin: nothing is sent, and nothing is overwritten."""
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
        await make_job(ledger=path)
    with pytest.raises(ConfigurationError):
        provisioning.status(path)
    assert before == (path.read_bytes() if path.is_file() else None)
    assert not service.requests


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
async def test_a_disk_that_fails_ends_the_job_and_loses_nothing(
    writes: int,
    service: Service,
    make_job: Callable[..., CreateJob],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No key is yielded that is not logged; when the disk has room again, the job resumes."""
    yielded: list[str] = []
    commit, left = sqlite_record._commit_batch, writes

    def failing(db: sqlite3.Connection, statements: Any) -> None:
        nonlocal left
        left -= len(statements)  # how many commits they share depends on the machine's load
        if left < 0:
            raise sqlite3.OperationalError("database or disk is full")
        commit(db, statements)

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_record, "_commit_batch", failing)
        with pytest.raises(BatchError) as caught:
            async for batch in make_job(amount=800):
                yielded += batch.keys
    assert isinstance(caught.value.__cause__, ConfigurationError)
    ended: CreateReport = caught.value.report
    assert set(yielded) <= set(ended.keys)
    assert ended.created + ended.failed + ended.unknown == 800
    assert ended.created + ended.unknown >= len(service.values())
    report = await make_job(amount=800)
    assert _is_exact(report, service, 800)
    assert set(yielded) <= set(report.keys)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
async def test_a_commit_that_is_interrupted_ends_the_job(
    kind: type[BaseException],
    service: Service,
    make_job: Callable[..., CreateJob],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whatever ends a commit, no key is yielded that is not logged, and the job can be resumed."""
    left, commit = 3, sqlite_record._commit_batch

    def interrupt(db: sqlite3.Connection, statements: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise kind
        commit(db, statements)

    with monkeypatch.context() as patch:
        patch.setattr(sqlite_record, "_commit_batch", interrupt)
        with pytest.raises(BatchError) as caught:
            await make_job(amount=800)
    assert isinstance(caught.value.__cause__, ConfigurationError)
    assert sorted(caught.value.report.keys) == sorted(service.values())
    assert _is_exact(await make_job(amount=800), service, 800)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", ".lock"])
async def test_a_ledger_that_is_deleted_ends_the_job(
    suffix: str, service: Service, make_job: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """No more keys are created, and the error's report has those that were."""
    with pytest.raises(BatchError) as caught:
        async for _ in make_job(amount=6000):
            (tmp_path / f"ledger.db{suffix}").unlink(missing_ok=True)
    assert isinstance(caught.value.__cause__, ConfigurationError)
    report: CreateReport = caught.value.report
    assert sorted(report.keys) == sorted(service.values())
    assert report.created + report.failed == 6000
    assert report.failed > 4000


async def test_a_ledger_that_is_deleted_at_the_end(
    service: Service, make_job: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """All keys are created then, and the job still does not end as if it could be run again."""
    with pytest.raises(BatchError) as caught:
        async for _ in make_job(amount=1):
            (tmp_path / "ledger.db").unlink()
    assert caught.value.report.keys == tuple(service.values())


async def test_a_relative_path_is_that_of_the_call(
    make_job: Callable[..., CreateJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger is where it was when the job was made, and stays there."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    job = make_job(ledger="relative.db")
    monkeypatch.chdir(tmp_path / "elsewhere")
    async for _ in job:
        monkeypatch.chdir("/")
    assert job.report.created == 300
    assert provisioning.status(tmp_path / "relative.db").done


async def test_a_report_reads_no_file(
    make_job: Callable[..., CreateJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would block the event loop; keys of an earlier run and of this one are at hand."""
    async with aclosing(aiter(make_job(amount=1000))) as batches:
        first = (await anext(batches)).keys
    job = make_job(amount=1000)
    async with aclosing(aiter(job)) as batches:
        await anext(batches)
        with monkeypatch.context() as patch:
            patch.setattr(sqlite3, "connect", None)
            report = job.report
        async for _ in batches:
            pass
    assert report.keys[:100] == first
    assert report.created + report.failed + report.unknown == 1000
    assert job.report.created == len(set(job.report.keys)) == 1000


async def test_a_cancelled_job_can_be_resumed(
    service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """The keys of the calls in flight are found."""
    service.script.extend(["slow to respond"] * 10)
    for calls in (1, 4, 6):
        job = asyncio.ensure_future(_await(make_job(amount=800)))
        while service.requests["POST /keys/batch"] < calls:
            await asyncio.sleep(0)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
    assert _is_exact(await make_job(amount=800), service, 800)


async def test_a_job_whose_consumer_stops_can_be_resumed(
    service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """The next run yields the keys that the consumer had first, then the others."""
    async with aclosing(aiter(make_job(amount=1000))) as batches:
        first = (await anext(batches)).keys
    again = [key async for batch in make_job(amount=1000) for key in batch.keys]
    assert again[:100] == list(first)
    assert len(again) == len(set(again)) == 1000
    assert sorted(again) == sorted(service.values())


async def test_a_name_without_room_for_the_marker_is_refused(
    service: Service, make_job: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """No file is created and nothing is sent; without a marker there is room."""
    limits: set[str] = set()
    for length in (250, 300):
        with pytest.raises(InvalidRequestError) as caught:
            make_job(key_name="x" * length)
        assert caught.value.field == "key_name"
        limits.add(caught.value.limit)
    (limit,) = limits  # not 255, which would be refused next
    assert "jk-" in limit
    assert not _modes(tmp_path)
    assert not service.requests
    assert _is_exact(await make_job(key_name="x" * 255, marker=None), service, 300)


@pytest.mark.parametrize(
    "fault", ["healthy", "request lost", "no response", "late", "twice", "fewer"]
)
async def test_a_job_of_one_key(
    fault: str, service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """It creates one key whatever happens to the first call; run again, it sends nothing."""
    service.script.append(fault)
    report = await make_job(amount=1)
    assert _is_exact(report, service, 1)
    before = service.requests.copy()
    assert (await make_job(amount=1)).keys == report.keys
    assert service.requests == before


@pytest.mark.parametrize("fault", ["fewer", "fewer in response", "rest late", "refused in part"])
async def test_a_response_with_fewer_keys_than_requested(
    fault: str, service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """Its keys are yielded, and the others are found or created; none is yielded twice."""
    service.script.extend([fault, fault])
    keys = [key async for batch in make_job() for key in batch.keys]
    service.catch_up()
    assert len(keys) == len(set(keys)) == 300
    assert sorted(keys) == sorted(service.values())


async def test_an_outage_ends_the_job_for_now(
    service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """It gives up after a few rounds without a key, and reports what is unknown."""
    service.script.extend(["failed before"] * 200)
    with pytest.raises(BatchError) as caught:
        await make_job(reconcile_after=0.01)
    report: CreateReport = caught.value.report
    assert (report.created, report.failed + report.unknown) == (0, 300)
    service.script.clear()
    assert _is_exact(await make_job(), service, 300)


async def test_a_ledger_may_be_moved_between_runs(
    service: Service, make_job: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """Its path is no part of the job."""
    report = await make_job()
    moved = shutil.move(tmp_path / "ledger.db", tmp_path / "kept.db")
    assert (await make_job(ledger=moved)).keys == report.keys


async def _await(job: CreateJob) -> CreateReport:
    return await job


async def test_keys_of_others_that_come_and_go_hide_no_key_of_the_job(
    service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """In each pass the same key moves from page 2 to page 1 between the two requests."""
    service.script.append("no response")
    theirs: list[str] = []

    def insert_and_delete(page: int) -> None:
        if page == 1:
            theirs[:] = service.make(1, "", foreign=True)
        elif page == 2 and theirs:
            deleted = theirs.pop()
            for key_id in [row.id for row in service.rows.values() if row.value == deleted]:
                del service.rows[key_id]  # unless it has gone by chance

    service.before_page = insert_and_delete
    with contextlib.suppress(BatchError):  # the walk may end with a DriftError
        await make_job(amount=100)
    service.before_page = lambda page: None
    assert _is_exact(await make_job(amount=100), service, 100)


@pytest.mark.parametrize("fault", ["repeated", "duplicated", "over-long"])
@pytest.mark.parametrize("call", [0, 1, 2])
async def test_a_response_with_keys_that_are_not_its_own(
    fault: str, call: int, service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """Each key that came before, twice or in surplus is settled by the markers."""
    service.script.extend(["healthy"] * call + [fault])
    keys = [key async for batch in make_job(concurrency=1) for key in batch.keys]
    service.catch_up()
    assert len(keys) == len(set(keys)) == 300
    assert sorted(keys) == sorted(service.values())


async def test_surplus_keys_that_can_not_be_deleted(
    service: Service, make_job: Callable[..., CreateJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error is about the job's own keys, and its cause about the request that failed."""

    def fail(ids: list[int]) -> dict[str, int]:
        raise ConnectionResetError

    service.script.append("over-long")
    with monkeypatch.context() as patch:
        patch.setattr(service, "_delete_keys", fail)
        with pytest.raises(BatchError) as caught:
            await make_job(concurrency=1)
    assert isinstance(caught.value.__cause__, TransportError)
    assert str(caught.value).count("the job ended early") == 1
    assert _is_exact(await make_job(), service, 300)


@pytest.mark.parametrize("ledger", ["ledger.db", None])
@pytest.mark.parametrize("call", [0, 2])
async def test_an_over_long_response_without_markers_is_told_on_every_run(
    call: int,
    ledger: str | None,
    service: Service,
    make_job: Callable[..., CreateJob],
    tmp_path: Path,
) -> None:
    """The surplus can't be found, so no run ends as if all were right."""
    service.script.extend(["healthy"] * call + ["over-long"])
    path = None if ledger is None else tmp_path / ledger
    for _ in range(1 if path is None else 2):
        with pytest.raises(BatchError) as caught:
            await make_job(marker=None, concurrency=1, ledger=path)
        report: CreateReport = caught.value.report
        assert isinstance(caught.value.__cause__, OutcomeUnknownError)
        assert {*report.keys} <= {*service.values()}
        assert len({*report.keys}) == report.created >= 100 * (call + 1)
        assert report.created + report.failed + report.unknown == 300
    assert len(service.values()) == report.created + 5


async def test_a_response_to_another_call_is_settled(
    service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """The service echoes what it was asked for, and that was somebody else's call."""
    service.script.extend(["healthy", "foreign"])
    assert _is_exact(await make_job(concurrency=1), service, 300)


async def test_a_job_that_believes_its_clock_makes_surplus_keys(
    service: Service, make_job: Callable[..., CreateJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the plausibility check, keys older than the job's beginning are not found."""
    monkeypatch.setattr(Reconciler, "_is_plausible", lambda *_: True)
    _make_old(service, monkeypatch)
    report = await make_job(400, concurrency=1)
    assert len(service.values()) > len(report.keys) == 400


async def test_a_job_that_adopts_keys_that_it_has_loses_keys(
    service: Service, make_job: Callable[..., CreateJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the hashes at adoption, keys that are logged are taken for surplus and deleted."""

    def find_some(_: LoggedValues, values: Iterable[str]) -> list[str]:
        return [value for value in values if not value.endswith("1")]

    monkeypatch.setattr(LoggedValues, "find_new", find_some)
    service.script.append("fewer in response")
    with contextlib.suppress(BatchError):
        await make_job(100)
    assert len(service.values()) < 100


async def test_a_list_that_knows_none_of_the_jobs_keys_ends_the_job(
    service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """It would make the job create again what only this list does not show."""
    service.script += ["healthy", "no response"]
    service.before_page = lambda _: service.forget_names()
    with pytest.raises(BatchError) as caught:
        await make_job(200, concurrency=1)
    assert isinstance(caught.value.__cause__, InvalidResponseError)
    assert (caught.value.report.created, len(service.values())) == (100, 200)


async def test_a_list_with_a_key_value_twice_ends_the_job(
    service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """One key is not counted as two."""
    service.script.append("no response")
    service.before_page = lambda _: service.repeat_value()
    with pytest.raises(BatchError) as caught:
        await make_job(100)
    assert isinstance(caught.value.__cause__, InvalidResponseError)
    assert caught.value.report.created == 0


async def test_a_resumed_job_knows_the_keys_of_earlier_runs(
    service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """A gateway repeats a response of the run before."""
    async with aclosing(aiter(make_job(concurrency=1))) as batches:
        await anext(batches)
    service.script.extend(["repeated"] * 2)
    assert _is_exact(await make_job(concurrency=1), service, 300)


async def test_a_job_notices_a_response_to_the_job_before(
    service: Service, make_job: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """A gateway repeats a response to another job of the client."""
    earlier = await make_job(100, ledger=tmp_path / "earlier.db")
    service.script.extend(["repeated"] * 2)
    report = await make_job(200, concurrency=1)
    assert len(report.keys) == 200
    assert {*report.keys, *earlier.keys} == {*service.values()}
    assert len(service.values()) == 300


async def test_a_job_notices_a_response_that_the_job_before_has_not_got(
    service: Service, make_job: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """The job before has found its keys by their markers."""
    service.script.append("response lost")
    earlier = await make_job(100, ledger=tmp_path / "earlier.db")
    service.script.append("repeated")
    report = await make_job(200, concurrency=1)
    assert len(report.keys) == 200
    assert {*report.keys, *earlier.keys} == {*service.values()}
    assert len(service.values()) == 300


async def test_a_list_that_shows_nothing_yet_makes_no_surplus_keys(
    service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """The first calls are lost. Once later ones have created keys, the list is looked at again."""
    service.script.extend(["no response"] * 2)
    hidden: dict[int, Row] = {}

    def hide(_: int) -> None:
        if not hidden:
            hidden.update(service.rows)
            service.rows.clear()

    service.before_page = hide
    begun = make_job(200, concurrency=1)
    async with aclosing(aiter(begun)) as batches:
        await anext(batches)
        service.rows |= hidden
        async for _ in batches:
            pass
    assert _is_exact(begun.report, service, 200)


async def test_short_responses_do_not_end_a_job(
    service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """It goes on as long as keys come, however few."""
    service.script.extend(["fewer"] * 25)
    assert _is_exact(await make_job(3000, reconcile_after=0.01), service, 3000)


@pytest.mark.parametrize(("newest_first", "requests"), [(True, 100), (False, 12)])
async def test_looking_for_keys_ends_while_others_are_deleted(
    newest_first: bool, requests: int, service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """Though each page finds another list. Where the newest keys come last, they are enough."""
    service.newest_first = newest_first
    service.make(3000, "old", foreign=True, age=1e6)
    service.before_page = lambda page: service.delete_foreign(20)
    service.script.append("no response")
    assert _is_exact(await make_job(100), service, 100)
    assert service.requests["GET /keys"] <= requests


@pytest.mark.parametrize("newest_first", [True, False])
async def test_keys_are_looked_for_among_the_newest(
    newest_first: bool, service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """A shop of 3,000 keys is not walked for 100."""
    service.newest_first = newest_first
    service.make(3000, "old", foreign=True, age=1e6)
    service.script.append("no response")
    assert _is_exact(await make_job(100), service, 100)
    assert service.requests["GET /keys"] <= 12


def _make_old(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a job's keys be older than the moment when it began, by its own clock."""
    make = service.make
    service.make(500, "old", foreign=True, age=1e7)
    monkeypatch.setattr(service, "make", lambda *given, **more: make(*given, **{"age": 1e6} | more))
    service.script.extend(["no response"] * 2)


async def test_a_clock_that_was_wrong_when_the_job_began(
    service: Service, make_job: Callable[..., CreateJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job's keys are older than the moment when it began, and are found."""
    _make_old(service, monkeypatch)
    assert _is_exact(await make_job(400, concurrency=1), service, 400)


@pytest.mark.parametrize("value", ["", "JNK-2"])
async def test_a_ledger_with_equal_or_empty_keys_is_damaged(
    value: str, service: Service, make_job: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """It would give fewer keys than it says."""
    await make_job()
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        for row in (3, 5):
            db.execute("UPDATE key SET value = ? WHERE rowid = ?", (value or str(row), row))
        db.execute("UPDATE key SET value = ? WHERE rowid = 5", (value,))
        db.commit()
    with pytest.raises(ConfigurationError):
        await make_job()


async def test_a_job_that_does_not_notice_repeats_loses_keys(
    service: Service, make_job: Callable[..., CreateJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the hashes, the keys of a repeated response are reported twice."""
    monkeypatch.setattr(LoggedValues, "add_all", lambda _, values: True)
    monkeypatch.setattr(CreatedKeys, "check", lambda *_: None)
    service.script.extend(["healthy", "repeated"])
    report = await make_job(concurrency=1)
    assert not _is_exact(report, service, 300)
    assert len(set(report.keys)) < 300
