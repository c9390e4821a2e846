"""Ledgers that are damaged, or made by somebody who wants harm: an error of ours, and soon."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from junkie_async import (
    ConfigurationError,
    InvalidRequestError,
    JunkieClient,
    provisioning,
)
from junkie_async._jobs.ledger_tables import limit_time
from junkie_async._jobs.record import DamagedError, read_arguments
from tests.other_user import posix

from .server import PROVIDER, Service
from .test_ledger_format import LEDGERS

URL = "http://127.0.0.1:9/api/v2"

_ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT"
_VIEWS = {
    "job": f"{_ENDLESS} 'abc' AS id, '{{}}' AS arguments, max(x) AS begun FROM c",
    "key": f"{_ENDLESS} x AS value, x AS attempt FROM c",
}
_PAGE = 4096


@pytest.fixture(params=LEDGERS)
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A sound ledger of a job that is not done, in each version of the format."""
    path = tmp_path / "ledger.db"
    _execute(path, LEDGERS[request.param].replace("URL", URL))
    return path


def _execute(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)


_IN_VERSION_2 = {
    "job SET id": "job SET marker",
    "INSERT INTO job SELECT * FROM job": "UPDATE job SET result = 'text'",
    "DELETE FROM job": "DELETE FROM job; INSERT INTO job VALUES (1, 'job', '', '', 0, NULL)",
    "INSERT INTO attempt VALUES (2, 100, 0, 0)": "INSERT INTO attempt VALUES (1, 2, 100, 0, NULL)",
    "INSERT INTO key VALUES ('JNK-1', 1)": "INSERT INTO key VALUES (1, 1, 'JNK-1')",
    "INSERT INTO key VALUES ('JNK-1', -1)": "INSERT INTO key VALUES (1, -1, 'JNK-1')",
    "DROP COLUMN suspect": "DROP COLUMN doubted",
    "PRAGMA user_version = 2": "PRAGMA user_version = 1",
}


def _translate(change: str, path: Path) -> str:
    """Write a change for the version of a ledger."""
    with closing(sqlite3.connect(path)) as db:
        if db.execute("PRAGMA user_version").fetchone() == (2,):
            for old, new in _IN_VERSION_2.items():
                change = change.replace(old, new)
    return change


async def _run(path: Path, url: str) -> None:
    """Run the job of the ledger."""
    async with JunkieClient("jk_test", base_url=url) as client:
        await client.keys.create_many(
            5,
            provider_id=PROVIDER,
            key_name="launch",
            validity_minutes=timedelta(hours=1),
            hwid_limit=2,
            ledger=path,
        )


# What refers to columns is written for version 1, and read for version 2 by `_translate`.
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE job SET id = 'abc\x1b[31m'",
        "UPDATE job SET id = x'6162'",
        "UPDATE job SET id = CAST(x'ff1b' AS TEXT)",
        "UPDATE job SET arguments = '{'",
        "UPDATE job SET arguments = '[1]'",
        "UPDATE job SET arguments = '{}'",
        "UPDATE job SET arguments = x'7b7d'",
        "UPDATE job SET arguments = replace(hex(zeroblob(50000)), '0', '[')",
        'UPDATE job SET arguments = \'{"amount": "5"}\'',
        "UPDATE job SET arguments = '{\"amount\": true}'",
        "UPDATE job SET arguments = '{\"amount\": 1e400}'",
        'UPDATE job SET arguments = \'{"amount": 5, "\x1b[31m": 1}\'',
        "UPDATE job SET begun = 'once'",
        "UPDATE job SET begun = 1e300",
        "UPDATE job SET begun = -1e18",
        "DELETE FROM job",
        "INSERT INTO job SELECT * FROM job",
        "UPDATE attempt SET amount = 'many'",
        "UPDATE attempt SET amount = 9e999",
        "UPDATE attempt SET amount = -5",
        "UPDATE attempt SET open = 2",
        "UPDATE key SET value = x'00'",
        "UPDATE key SET attempt = 'first'",
        "CREATE TRIGGER more AFTER INSERT ON key BEGIN DELETE FROM key; END",
        "CREATE TABLE more (a)",
        "DELETE FROM attempt",
        "INSERT INTO attempt VALUES (2, 100, 0, 0)",
        "UPDATE attempt SET number = -1",
        "INSERT INTO key VALUES ('JNK-1', 1)",
        "UPDATE attempt SET amount = 1",
        "INSERT INTO key VALUES ('JNK-1', -1)",
        "ALTER TABLE key RENAME COLUMN value TO key_value",
        "ALTER TABLE attempt DROP COLUMN suspect",
        "DROP INDEX key_attempt",
        "DROP TABLE attempt",
        # The index of three keys gets the pages of one without keys.
        """CREATE TABLE k (a); CREATE INDEX i ON k (a); PRAGMA writable_schema = 1;
        UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'i')
        WHERE name = 'key_attempt'; DELETE FROM sqlite_schema WHERE name IN ('k', 'i')""",
        "DROP TABLE job; CREATE TABLE job (id TEXT, arguments TEXT, begun REAL AS (1.0))",
        "PRAGMA user_version = 0",
        "PRAGMA user_version = 2",
        "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = 'CREATE TABLE \x1b[31m '",
        "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET rootpage = 2",
    ],
)
async def test_content_that_is_not_ours(change: str, path: Path) -> None:
    """`status` and jobs refuse it, without a text from the file and before anything is sent."""
    _execute(path, _translate(change, path))
    with pytest.raises(ConfigurationError) as by_status:
        provisioning.status(path)
    with pytest.raises(ConfigurationError) as by_job:
        await _run(path, URL)
    assert (str(by_status.value) + str(by_job.value)).isprintable()


async def test_a_ledger_of_a_newer_version(path: Path) -> None:
    """It is called newer whatever its tables are, and not damaged."""
    newer = "PRAGMA user_version = 3; CREATE TABLE more (a); DROP TABLE attempt"
    wreck = "PRAGMA writable_schema = 1; UPDATE sqlite_schema SET sql = 'CREATE SHELF'"
    texts: list[str] = []
    for change in (newer, wreck):
        _execute(path, change)
        with pytest.raises(ConfigurationError) as by_status:
            provisioning.status(path)
        with pytest.raises(ConfigurationError) as by_job:
            await _run(path, URL)
        texts += str(by_status.value), str(by_job.value)
    assert len(set(texts)) == 1


@pytest.mark.parametrize("change", ["ANALYZE", "VACUUM", "REINDEX"])
def test_maintenance_does_no_harm(change: str, path: Path) -> None:
    """What SQLite's tools do to a file leaves it a ledger."""
    _execute(path, change)
    assert provisioning.status(path).created == 3


async def test_arguments_of_another_job_are_named(path: Path) -> None:
    """An argument that this version does not have is an argument that differs."""
    _execute(path, 'UPDATE job SET arguments = \'{"amount": 5, "colour": "red"}\'')
    async with Service() as service, JunkieClient("jk_test", base_url=service.url) as client:
        with pytest.raises(InvalidRequestError) as caught:
            await client.keys.create_many(5, provider_id=PROVIDER, ledger=path)
    assert caught.value.field == "base_url"


async def test_keys_that_are_not_text(path: Path) -> None:
    """A job whose ledger has undecodable bytes in a key ends with an error of ours."""
    _execute(path, "UPDATE key SET value = CAST(x'4a4e4bff' AS TEXT)")
    async with Service() as service:
        _execute(path, f"UPDATE job SET arguments = replace(arguments, '{URL}', '{service.url}')")
        with pytest.raises(ConfigurationError):
            await _run(path, service.url)
        assert not service.requests


# --- what never ends ------------------------------------------------------------------------------


def _join_pages(root: int, content: bytearray, header: int = 0) -> Iterator[bytes]:
    """Make a tree of 17 levels, in each of which 200 cells refer to one page of the next."""
    last = len(content) // _PAGE
    yield bytes(content[(root - 1) * _PAGE : root * _PAGE])
    for level in range(17):
        page = bytearray(_PAGE)
        page[header : header + 12] = struct.pack(">BHHHBI", 5, 0, 200, 3000, 0, last + 1 + level)
        for cell in range(200):
            at = 3000 + 5 * cell
            struct.pack_into(">H", page, header + 12 + 2 * cell, at)
            struct.pack_into(">IB", page, at, last + 1 + level, 1)
        yield bytes(page)


def _make_endless(kind: str, path: Path) -> None:
    if kind in _VIEWS:
        _execute(path, f"DROP TABLE {kind}; CREATE VIEW {kind} AS {_VIEWS[kind]}")
    elif kind == "pages":
        content = bytearray(path.read_bytes())
        with closing(sqlite3.connect(path)) as db:
            query = "SELECT rootpage FROM sqlite_schema WHERE name = 'key'"
            (number,) = db.execute(query).fetchone()
        *pages, root = _join_pages(number, content)
        content[(number - 1) * _PAGE : number * _PAGE] = root
        content += b"".join(pages)
        struct.pack_into(">I", content, 28, len(content) // _PAGE)
        path.write_bytes(content)
    else:
        path.with_name(path.name + kind).unlink(missing_ok=True)
        os.mkfifo(f"{path}{kind}")


@posix
def test_status_of_endless_ledgers(path: Path) -> None:
    """It ends at once: in a process of its own, since SQLite can't be stopped from outside."""
    kinds = [*_VIEWS, "pages", "", "-journal"]
    copies = [path.with_name(f"{kind}.db") for kind in kinds]
    for kind, copy in zip(kinds, copies, strict=True):
        shutil.copy(path, copy)
        _make_endless(kind, copy)
    command = [sys.executable, "-c", _STATUS, *map(str, copies)]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=20, text=True)
    assert ended.stdout.split() == ["refused"] * len(kinds)


_STATUS = """
import sys
from junkie_async import ConfigurationError, provisioning
for path in sys.argv[1:]:
    try:
        provisioning.status(path)
    except ConfigurationError:
        print("refused")
"""


@pytest.mark.parametrize("amount", [0, 1, 2**53 - 1, 2**53])
def test_the_amount_of_a_job(amount: int) -> None:
    """It is one that a job may have."""
    if 0 < amount < 2**53:
        assert read_arguments(f'{{"amount": {amount}}}') == {"amount": amount}
    else:
        with pytest.raises(DamagedError):
            read_arguments(f'{{"amount": {amount}}}')


def test_a_query_of_an_order_ends_in_time() -> None:
    """Orders don't check the whole file, so that damage could make a query of theirs endless."""
    numbers = "WITH RECURSIVE new(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM new LIMIT {})"
    with closing(sqlite3.connect(":memory:")) as db:
        with limit_time(db, 0.05), pytest.raises(sqlite3.OperationalError, match="interrupted"):
            db.execute(f"{numbers} SELECT max(n) FROM new".format(30_000_000)).fetchone()
        assert db.execute(f"{numbers} SELECT max(n) FROM new".format(9)).fetchone() == (9,)


def test_any_damaged_bytes(path: Path) -> None:
    """A ledger with random wrong bytes gives a status or an error of ours."""
    sound, chance = path.read_bytes(), random.Random(11)
    texts: list[str] = []
    for _ in range(300):
        content = bytearray(sound)
        for _ in range(chance.choice([1, 3, 30])):
            page = chance.randrange(len(content) // _PAGE) * _PAGE
            offset = chance.randrange(chance.choice([16, 128, _PAGE]))  # headers come first
            content[page + offset] = chance.randrange(256)
        path.write_bytes(content)
        try:
            provisioning.status(path)
        except ConfigurationError as error:
            texts.append(str(error))
    assert 100 < len(texts) < 300
    assert all(map(str.isprintable, texts))
