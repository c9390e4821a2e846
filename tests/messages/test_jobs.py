"""The texts of errors from jobs and ledgers."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import attrs
import pytest

from junkie_async import (
    AuthenticationError,
    BatchError,
    ConfigurationError,
    CreateJob,
    DeleteJob,
    DriftError,
    InvalidRequestError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    KeyBatch,
    Outcome,
    OutcomeUnknownError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    UpdateJob,
    UpdateResult,
    provisioning,
)
from junkie_async._hooks import StatusCallback
from junkie_async._jobs import markers, sqlite_record
from junkie_async.ext.problem_details import problem_details
from tests.durability import server
from tests.durability.server import Exchange, Service
from tests.other_user import give_away, posix, share_folder
from tests.unit.job_service import Service as ServiceInMemory
from tests.unit.test_key_search import _NEWEST_FIRST as NEWEST_FIRST
from tests.unit.test_key_search import _GrowingList as GrowingList
from tests.unit.test_key_search import _OddList as OddList
from tests.unit.test_reconcile import _Service as ListOfKeys
from tests.unit.test_reconcile import reconcile


def _make_create(error: Exception | None = None, count: int = 100) -> Any:
    async def create(amount: int, marker: str | None, on_status: StatusCallback) -> KeyBatch:
        if error is not None:
            raise error
        return KeyBatch(keys=tuple(f"K{number}" for number in range(count)), count=count)

    return create


@pytest.mark.parametrize(
    ("create", "message"),
    [
        (
            _make_create(ServerError("down", status=503, outcome=Outcome.NOT_EXECUTED)),
            "the job ended early: down [503]",
        ),
        (_make_create(KeyError("JNK-SECRET")), "the job ended early: KeyError was raised"),
        (
            _make_create(count=99),
            "the job ended early: requested 100 keys, but the response has 99",
        ),
    ],
    ids=["service", "caller", "wrong count"],
)
async def test_jobs_that_end_early(create: Any, message: str) -> None:
    """The text has the first failure, unless somebody else's exception could quote a key value."""
    with pytest.raises(BatchError) as caught:
        await CreateJob(100, create, concurrency=1)
    assert str(caught.value) == message


async def test_a_response_with_keys_that_came_before() -> None:
    """The text counts them."""
    calls = 0

    async def create(amount: int, marker: str | None, on_status: StatusCallback) -> KeyBatch:
        nonlocal calls
        calls += 1
        first = 98 * (calls - 1)
        return KeyBatch(keys=tuple(f"K{at}" for at in range(first, first + amount)), count=amount)

    with pytest.raises(BatchError) as caught:
        await CreateJob(200, create, concurrency=1)
    assert str(caught.value) == (
        "the job ended early: outcome unknown: the response has 2 key values that came before, so"
        " it may be that of another call"
    )


async def test_an_outage_after_short_responses() -> None:
    """The text of the last one says how many keys it had."""
    memory = ListOfKeys()

    async def create(amount: int, marker: str | None, on_status: StatusCallback) -> KeyBatch:
        return KeyBatch(keys=(), count=0)

    with pytest.raises(BatchError) as caught:
        await CreateJob(
            100, create, concurrency=1, journal=memory.journal, reconciler=memory.reconciler()
        )
    assert str(caught.value) == ("the job ended early: requested 100 keys, but the response has 0")


async def test_searches_of_a_list_that_find_no_end() -> None:
    """The texts say what contradicts what, or who is to blame."""
    keys = [attrs.evolve(key, key_name="ours") for key in NEWEST_FIRST[:300]]
    random.Random(1).shuffle(keys)
    growing, odd = GrowingList(keys), OddList(NEWEST_FIRST[::-1])
    with pytest.raises(DriftError) as drifts:
        await growing.find()
    assert str(drifts.value) == (
        "others changed the provider's keys during each of 10 walks over them, or it found other"
        " keys of the job: run it again later"
    )
    odd.empty_page, odd.cap = 9, 900
    with pytest.raises(InvalidResponseError) as contradicts:
        await odd.find(None)
    assert str(contradicts.value) == (
        "the list states 900 keys, but its pages have 800 keys: keys of the job may be missing"
    )


async def test_a_list_with_a_key_value_twice() -> None:
    """The text says what to do."""
    memory = ListOfKeys("m0", "m0")
    memory.keys[1] = attrs.evolve(memory.keys[1], key_value="K1")
    await memory.lose(2)
    with pytest.raises(InvalidResponseError) as caught:
        await reconcile(memory)
    assert caught.value.message == (
        "the list has a key value of the job twice: run the job again, or compare the keys of the"
        " report with those of the list"
    )


async def test_a_progress_callback_that_fails() -> None:
    """The text says that it was the callback, since the call has succeeded."""

    def on_progress(done: int, total: int | None) -> None:
        raise ValueError("JNK-SECRET")

    with pytest.raises(BatchError) as caught:
        await CreateJob(100, _make_create(count=100), concurrency=1, on_progress=on_progress)
    assert str(caught.value) == "the job ended early: on_progress raised ValueError"


async def test_an_iterable_that_awaits_a_cancelled_task() -> None:
    """The cause says what happened to the iterable."""

    async def keys() -> AsyncIterator[int]:
        yield 1
        raise asyncio.CancelledError

    with pytest.raises(BatchError) as caught:
        await DeleteJob(keys(), ServiceInMemory().delete, concurrency=1)
    assert str(caught.value.__cause__) == "the iterable of keys awaited a cancelled task"


async def test_a_job_that_is_run_twice() -> None:
    """The text says how to run it again."""
    job = ServiceInMemory().create_job(1)
    await job
    with pytest.raises(RuntimeError) as caught:
        await job
    assert str(caught.value) == "a job runs only once: make a new job to run it again"


def _update(keys: Any, **fields: Any) -> UpdateJob:
    return JunkieClient("any", base_url="http://127.0.0.1:1").keys.update_many(keys, **fields)


@pytest.mark.parametrize(
    ("keys", "fields", "message"),
    [
        (
            [5],
            {},
            (
                "keys[0] must be a pair of a key and its fields, since no fields are given for all"
                " keys, got 5"
            ),
        ),
        (
            {5: {"key_name": "a"}},
            {},
            (
                "keys must be an iterable or async iterable of pairs of a key and its fields (of a"
                " dict, its items()), got a dict of 1"
            ),
        ),
        (
            [(5, {"key_name": "a"}), (6, {})],
            {},
            (
                "keys[1] must be a pair whose second part is a dict of at least one field, got one"
                " without"
            ),
        ),
        (
            [(5, "vip")],
            {},
            (
                "keys[0] must be a pair whose second part is a dict of at least one field, got one"
                " with 'vip'"
            ),
        ),
        (
            [(5, {"label": "a"})],
            {},
            (
                "keys[0] must be a pair whose fields are among folder_id, key_name,"
                " validity_minutes, discord_id, is_premium, one_time_use, expiry_on_first_use,"
                " no_hwid, hwid_limit, expires_at, is_invalidated, hwids, got one with 'label'"
            ),
        ),
        (
            [(5, {"hwid_limit": 101})],
            {},
            "keys[0].hwid_limit must be an integer from 0 to 100, got 101",
        ),
        (
            [(5, {"is_premium": True})],
            {"is_premium": True},
            (
                "keys[0] must be a key's ID (an int from 1 to 9007199254740991), its value (a str)"
                " or a Key, got a tuple of 2"
            ),
        ),
    ],
    ids=["no fields", "a dict", "no field", "no dict", "unknown field", "bad field", "both"],
)
def test_bad_updates(keys: Any, fields: dict[str, Any], message: str) -> None:
    """The text names the key by its index, and its field."""
    with pytest.raises(InvalidRequestError) as caught:
        _update(keys, **fields)
    assert str(caught.value) == message


async def test_an_update_job_that_ends_early() -> None:
    """The text is that of the failure that every other key would meet."""

    async def send(*_: Any) -> UpdateResult:
        raise AuthenticationError("the API key was refused", status=401)

    with pytest.raises(BatchError) as caught:
        await UpdateJob([1, 2], send, fields={}, concurrency=1)
    assert str(caught.value) == "the job ended early: the API key was refused [401]"
    assert repr(caught.value.report) == (
        "UpdateReport(requested=1, done=0, not_found=0, failed=1, unknown=0, outcomes=<1 outcomes>)"
    )


def _delete(keys: Any, **options: Any) -> DeleteJob:
    return DeleteJob(keys, ServiceInMemory().delete, **{"concurrency": 1, **options})


@pytest.mark.parametrize(
    ("provoke", "message"),
    [
        (
            lambda: _delete("JNK-1"),
            (
                "keys must be an iterable or async iterable of IDs, key values or Keys,"
                " got a single string"
            ),
        ),
        (lambda: _delete([], on_progress=5), "on_progress must be a callable or None, got 5"),
        (
            lambda: markers.check_prefix("two words"),
            "marker must be a string without spaces, got 'two words'",
        ),
        (
            lambda: markers.check_room("x" * 250, "jk"),
            (
                "key_name must be a string of at most 228 characters, since a marker like"
                " jk-k3v9x2mq4f7z.1f follows it, got one of 250 characters"
            ),
        ),
        (
            lambda: provisioning.status(""),
            "ledger must be the path of a file, as a str or Path, got ''",
        ),
    ],
    ids=["keys", "on_progress", "marker", "key_name", "ledger"],
)
def test_bad_arguments(provoke: Callable[[], object], message: str) -> None:
    """The text names the argument, what it must be, and what it is."""
    with pytest.raises(InvalidRequestError) as caught:
        provoke()
    assert str(caught.value) == message


# --- ledgers --------------------------------------------------------------------------------------


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    """Start a service whose faults are those of its script."""
    async with Service() as service:
        yield service


@pytest.fixture
async def make_job(service: Service, tmp_path: Path) -> AsyncIterator[Callable[..., CreateJob]]:
    """Make jobs of one key with the same ledger."""
    retry = RetryPolicy(attempts=1)
    async with JunkieClient("jk_test", base_url=service.url, retry=retry) as client:

        def make(**fields: Any) -> CreateJob:
            options = {"provider_id": 7, "ledger": tmp_path / "a.db", **fields}
            return client.keys.create_many(1, **options)

        yield make


async def _fail(job: CreateJob) -> str:
    with pytest.raises(JunkieError) as caught:
        await job
    return str(caught.value)


async def test_a_ledger_that_is_open(make_job: Callable[..., CreateJob], tmp_path: Path) -> None:
    """The text says what to wait for."""
    async with aclosing(aiter(make_job())) as batches:
        await anext(batches)
        assert await _fail(make_job()) == (
            f"the ledger {tmp_path}/a.db can't be opened: another job has it open:"
            " wait until that one has ended"
        )


async def test_a_ledger_that_cannot_be_created(
    make_job: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """The text has the reason of the operating system."""
    path = tmp_path / "nowhere" / "a.db"
    assert await _fail(make_job(ledger=path)) == (
        f"the ledger {path} can't be opened: [Errno 2] No such file or directory: '{path}.lock'"
    )


async def test_a_file_that_is_not_a_ledger(
    make_job: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """A job and `status` say the same of another application's database."""
    path = tmp_path / "a.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE bills (cents INTEGER)")
    message = f"{path} is not a ledger: choose another path"
    assert await _fail(make_job()) == message
    with pytest.raises(ConfigurationError) as caught:
        provisioning.status(path)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("dsn", "message"),
    [
        (
            "postgresql://shop:s3cret@db/shop",
            (
                "ledger must be the path of a file: for PostgreSQL, use"
                " junkie_async.postgres.PostgresLedger, got a DSN"
            ),
        ),
        (
            "postgres://shop:s3cret@db/shop",
            (
                "ledger must be the path of a file: for PostgreSQL, use"
                " junkie_async.postgres.PostgresLedger, got a DSN"
            ),
        ),
        (
            "mysql://shop:s3cret@db/shop",
            (
                "ledger must be the path of a file, or a DSN that begins with postgresql://,"
                " got another DSN"
            ),
        ),
    ],
)
def test_a_dsn_in_place_of_a_path(dsn: str, message: str) -> None:
    """The text does not have the password."""
    with pytest.raises(InvalidRequestError) as caught:
        provisioning.claim(dsn, "launch", 1)
    assert str(caught.value) == message


def test_a_ledger_that_does_not_exist(tmp_path: Path) -> None:
    """The text has SQLite's reason."""
    with pytest.raises(ConfigurationError) as caught:
        provisioning.status(tmp_path / "a.db")
    assert str(caught.value) == (
        f"the ledger {tmp_path}/a.db can't be read: unable to open database file"
    )


@posix
def test_a_ledger_without_a_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text names the ledger as it was given."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(ConfigurationError) as caught:
        sqlite_record.SqliteStore("a.db")
    assert str(caught.value) == (
        "the ledger a.db can't be opened: [Errno 2] No such file or directory"
    )


@posix
@pytest.mark.parametrize(
    "write",
    [lambda path: provisioning.prune(path, 1), lambda path: provisioning.claim(path, "a", 1)],
)
def test_a_ledger_that_is_no_file(write: Callable[[Path], object], tmp_path: Path) -> None:
    """The text names it, and says what can't be done."""
    with pytest.raises(ConfigurationError) as caught:
        write(tmp_path)
    assert str(caught.value) == (
        f"the ledger {tmp_path} can't be written: [Errno 22] not a regular file: '{tmp_path}'"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "UPDATE job SET arguments = '{}'",
            "the ledger {path} can't be {verb}: it is damaged: restore a copy of it",
        ),
        (
            "PRAGMA user_version = 3",
            "{path} was written by a newer version of junkie_async: upgrade this one",
        ),
    ],
    ids=["damaged", "newer"],
)
async def test_a_ledger_that_cannot_be_used(
    change: str, message: str, make_job: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """The text says what to do, and quotes nothing of the file."""
    path = tmp_path / "a.db"
    await make_job()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(change)
    assert await _fail(make_job()) == message.format(path=path, verb="opened")
    with pytest.raises(ConfigurationError) as caught:
        provisioning.status(path)
    assert str(caught.value) == message.format(path=path, verb="read")


@posix
async def test_files_of_another_user(
    make_job: Callable[..., CreateJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text names the file or link, which may be one beside the ledger."""
    share_folder(tmp_path)
    (tmp_path / "a.db-wal").touch()
    give_away(tmp_path / "a.db-wal", monkeypatch)
    assert await _fail(make_job()) == (
        f"the ledger {tmp_path}/a.db can't be opened: [Errno 1] it belongs to another user (choose"
        f" another path): '{tmp_path}/a.db-wal'"
    )
    (tmp_path / "link").symlink_to("b.db")
    give_away(tmp_path / "link", monkeypatch)
    assert await _fail(make_job(ledger=tmp_path / "link")) == (
        f"the ledger {tmp_path}/link can't be opened: [Errno 1] it is a symbolic link of another"
        f" user (choose another path): '{tmp_path}/link'"
    )


async def test_a_ledger_of_other_arguments(make_job: Callable[..., CreateJob]) -> None:
    """The text has the recorded value and the given one."""
    await make_job()
    assert await _fail(make_job(is_premium=True)) == (
        "is_premium must be as in the ledger, got True; the ledger has None"
    )
    assert await _fail(make_job(key_name="for the customer with the number 5")) == (
        "key_name must be as in the ledger, got 'for …er 5'; the ledger has None"
    )


async def test_what_users_of_an_app_see_of_other_arguments(
    make_job: Callable[..., CreateJob],
) -> None:
    """The order under this key may be somebody else's, so its recorded values stay here."""
    await make_job(key_name="for Alice")
    with pytest.raises(InvalidRequestError) as caught:
        await make_job(key_name="for Bob")
    assert problem_details(caught.value).body == {
        "title": "Bad Request",
        "status": 400,
        "detail": "key_name must be as in the ledger.",
        "field": "key_name",
        "limit": "as in the ledger",
    }


async def test_a_ledger_of_another_base_url(
    make_job: Callable[..., CreateJob], tmp_path: Path, service: Service
) -> None:
    """Both addresses are whole: cut short, they might read the same."""
    await make_job()
    other = service.url.replace("127.0.0.1", "localhost")
    async with JunkieClient("jk_test", base_url=other) as client:
        job = client.keys.create_many(1, provider_id=7, ledger=tmp_path / "a.db")
        assert (
            await _fail(job)
            == f"base_url must be as in the ledger, got '{other}'; the ledger has '{service.url}'"
        )


async def test_a_disk_that_is_full(
    make_job: Callable[..., CreateJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text says that the job can be resumed."""

    def fail(db: sqlite3.Connection, statements: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(sqlite_record, "_commit_batch", fail)
    assert await _fail(make_job()) == (
        f"the job ended early: the ledger {tmp_path}/a.db can't be written: database or disk is"
        " full. Run the job again when it can: it resumes where the ledger ends"
    )


async def test_a_ledger_that_is_deleted(make_job: Callable[..., CreateJob], tmp_path: Path) -> None:
    """The text says which file, where the keys are, and when not to run the job again."""
    with pytest.raises(BatchError) as caught:
        async for _ in make_job():
            (tmp_path / "a.db").unlink()
    assert str(caught.value) == (
        f"the job ended early: the ledger {tmp_path}/a.db can't be written: {tmp_path}/a.db was"
        " moved, replaced or deleted. The report has all keys, and the file may lack some. To"
        " resume, put all its files back and run the job again"
    )


@posix
async def test_a_ledger_with_a_hard_link(
    make_job: Callable[..., CreateJob], tmp_path: Path
) -> None:
    """The text says what to do about the second name."""
    (tmp_path / "a.db").touch()
    (tmp_path / "b.db").hardlink_to(tmp_path / "a.db")
    assert await _fail(make_job()) == (
        f"the ledger {tmp_path}/a.db can't be opened: [Errno 31] it has another name, a hard link:"
        f" delete one, or copy the file: '{tmp_path}/a.db'"
    )


async def test_an_outcome_that_stays_unknown(
    service: Service, make_job: Callable[..., CreateJob]
) -> None:
    """The text says why the job can't find out, and what to do first."""
    service.script.append("no response")
    await _fail(make_job(marker=None))
    assert await _fail(make_job(marker=None)) == (
        "the job ended early: outcome unknown: an earlier run sent calls without markers, so the"
        " job can't find their keys. Look for them before you start a new job"
    )


@pytest.mark.parametrize(
    ("first", "second"), [("create_many", "create"), ("create", "create_many")]
)
async def test_an_idempotency_key_of_another_kind_of_order(
    first: str, second: str, service: Service, tmp_path: Path
) -> None:
    """The error names what the caller has passed, and the call that has used it."""
    order: dict[str, Any] = {"provider_id": 7, "idempotency_key": "a", "ledger": tmp_path / "o.db"}
    async with JunkieClient("jk_test", base_url=service.url) as client:
        calls: dict[str, Callable[[], Any]] = {
            "create": lambda: client.keys.create(**order),
            "create_many": lambda: client.keys.create_many(1, **order),
        }
        await calls[first]()
        with pytest.raises(InvalidRequestError) as caught:
            await calls[second]()
    assert str(caught.value) == (
        f"idempotency_key must be one that {first}() has not used, got that of another order"
    )


def test_a_claim_that_is_too_long(tmp_path: Path) -> None:
    """The limit is 30 years."""
    with pytest.raises(InvalidRequestError) as caught:
        provisioning.claim(tmp_path / "o.db", "a", 2e9)
    assert str(caught.value) == "seconds must be at most 1e+09, got 2000000000.0"


async def test_an_order_that_times_out(service: Service, tmp_path: Path) -> None:
    """The client can't know which of the reasons it is."""
    path = tmp_path / "o.db"
    async with JunkieClient("jk_test", base_url=service.url) as client:
        await client.keys.create(provider_id=7, idempotency_key="a", ledger=path)
        client.keys.deadline = 0.2
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(RequestTimeoutError) as caught:
                await client.keys.create(provider_id=7, idempotency_key="b", ledger=path)
    assert str(caught.value) == (
        "timed out after 0.2 s: another call fills this order, an earlier one is not settled yet,"
        " or the ledger or the service does not respond. Call again"
    )


_NO_LEDGER = "ledger must be a path or a DSN:"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"job": "a"}, f"{_NO_LEDGER} a job with a name is one of a ledger, got None"),
        (
            {"idempotency_key": "a"},
            f"{_NO_LEDGER} an idempotency_key needs a record of what was created, got None",
        ),
        (
            {"job": "a", "idempotency_key": "b", "ledger": "o.db"},
            "job must be None with an idempotency_key, got 'a'",
        ),
        ({"job": 5, "ledger": "o.db"}, "job must be a string of at most 255 characters, got 5"),
        (
            {"idempotency_key": "", "ledger": "o.db"},
            "idempotency_key must be a string that is not empty, got ''",
        ),
    ],
)
async def test_names_of_jobs_and_orders(options: dict[str, Any], message: str) -> None:
    """The text says what the name needs, whichever argument lacks it."""
    client = JunkieClient("any", base_url="http://127.0.0.1:1")
    with pytest.raises(InvalidRequestError) as caught:
        await client.keys.create_many(1, provider_id=7, **options)
    assert str(caught.value) == message


async def test_an_order_whose_key_could_not_be_recorded(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text says what exists, why nothing is recorded, and what to do."""
    commits: list[None] = []

    def fail_second(db: sqlite3.Connection, statements: Any) -> None:
        commits.append(None)
        if len(commits) == 2:
            raise sqlite3.OperationalError("database or disk is full")
        commit_batch(db, statements)

    commit_batch = sqlite_record._commit_batch
    monkeypatch.setattr(sqlite_record, "_commit_batch", fail_second)
    path = tmp_path / "o.db"
    async with JunkieClient("jk_test", base_url=service.url) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.keys.create(provider_id=7, idempotency_key="a", ledger=path)
    assert str(caught.value) == (
        f"outcome unknown: the key was created, and could not be recorded (the ledger {path} can't"
        " be written: database or disk is full. Run the job again when it can: it resumes where the"
        " ledger ends): call again with the same idempotency_key"
    )


async def test_a_response_about_another_order(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text does not name the key, which is somebody else's."""

    async def swap(exchange: Exchange) -> None:
        exchange.make()
        await exchange.respond(service.values()[:1])

    monkeypatch.setitem(server.FAULTS, "another order's", swap)
    order: dict[str, Any] = {"provider_id": 7, "ledger": tmp_path / "o.db"}
    async with JunkieClient("jk_test", base_url=service.url) as client:
        await client.keys.create(idempotency_key="a", **order)
    service.script.append("another order's")
    async with JunkieClient("jk_test", base_url=service.url) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.keys.create(idempotency_key="b", **order)
    assert str(caught.value) == "outcome unknown: the response is about the key of another call"


async def test_a_list_that_lacks_what_the_job_has_created() -> None:
    """The text says how many keys are missing, and which ones came in their place."""
    memory = ListOfKeys("m1", "m1", "m1")
    (lost,) = await memory.lose(1)
    (answered,) = await memory.journal.log_intents([2])
    memory.journal.log_result(answered, ["X1", "X2"], final=True)
    with pytest.raises(InvalidResponseError) as caught:
        await reconcile(memory)
    assert caught.value.message == (
        "the list has none of the 2 keys that the job has created and logged, by their markers in"
        " key_name: so it can't show what became of others"
    )
    assert caught.value.outcome is Outcome.EXECUTED
    memory.keys[0] = attrs.evolve(memory.keys[0], key_value="X1")
    with pytest.raises(InvalidResponseError) as strays:
        await reconcile(memory)
    assert strays.value.message == (
        "1 keys of the job are not listed with its marker, and 2 others are: the service has"
        " answered a call with keys of another one. Compare the keys of the report with those of"
        " the list"
    )
    assert strays.value.outcome is Outcome.EXECUTED
    assert not memory.deleted
    assert lost.number in memory.journal.open_intents
