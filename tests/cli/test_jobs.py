"""`junkie jobs`: a line for each ledger."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from junkie_async import BatchError, JunkieClient, RetryPolicy
from junkie_async.emulator import Emulator, Faults
from tests.durability.test_ledger_format import LEDGER

from ._invoke import invoke


async def test_a_line_per_ledger(tmp_path: Path) -> None:
    """It has the job's state, its counts, and requests with unknown outcome."""
    done, lost = tmp_path / "done.db", tmp_path / "lost.db"
    async with (
        Emulator() as emulator,
        JunkieClient("any", base_url=emulator.url, retry=RetryPolicy(attempts=1)) as junkie,
    ):
        await junkie.keys.create_many(1234, provider_id=1, ledger=done)
        emulator.faults = Faults(drop_after_rate=1.0, operations="createKeyBatch")
        with pytest.raises(BatchError):
            await junkie.keys.create_many(
                1000, provider_id=1, ledger=lost, marker=None, concurrency=1
            )
    assert invoke("jobs", str(done)).code == 0
    result = invoke("jobs", str(done), str(lost))
    assert result.code == 5
    first, second = result.out.splitlines()
    assert first.startswith(f"{done}: done, 1,234 of 1,234 keys created; job ")
    assert first.endswith(" UTC")
    assert second.startswith(
        f"{lost}: not done, 0 of 1,000 keys created, 100 requested with unknown outcome; job "
    )
    assert " 2 calls, " in second


async def test_json_for_scripts(tmp_path: Path) -> None:
    """An object per ledger; a job whose last calls are in doubt waits, and is not done."""
    ledger = tmp_path / "launch.db"
    async with (
        Emulator(faults=Faults(drop_after_rate=1.0, operations="createKeyBatch")) as emulator,
        JunkieClient("any", base_url=emulator.url) as junkie,
    ):
        job = asyncio.ensure_future(junkie.keys.create_many(100, provider_id=1, ledger=ledger))
        while not ledger.exists() or not invoke("jobs", str(ledger), "--json").out.count("true"):
            await asyncio.sleep(0.01)
        result = invoke("jobs", str(ledger), "--json")
        text = invoke("jobs", str(ledger))
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
    record = json.loads(result.out)
    assert (result.code, record["done"], record["waiting"]) == (5, False, True)
    assert (record["requested"], record["created"], record["open"]) == (100, 0, 100)
    assert "waits" in text.out


async def test_a_name_with_control_characters(tmp_path: Path) -> None:
    """They are not printed: a file's name can't clear the screen, or be taken for two lines."""
    ledger = tmp_path / "launch\x1b[2J\n.db"
    async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as junkie:
        await junkie.keys.create_many(1, provider_id=1, ledger=ledger)
    result = invoke("jobs", str(ledger))
    assert result.code == 0
    assert result.out.rstrip("\n").isprintable()
    ledger.write_bytes(ledger.read_bytes()[:5000])
    result = invoke("jobs", str(ledger))
    assert result.code == 2
    assert result.err.rstrip("\n").isprintable()


def test_a_job_id_with_control_characters(tmp_path: Path) -> None:
    """A ledger that somebody has changed can't move the cursor."""
    ledger = tmp_path / "launch.db"
    with closing(sqlite3.connect(ledger)) as db:
        db.executescript(LEDGER.replace("r755ie6k", "\x1b[2Jhello"))
    result = invoke("jobs", str(ledger))
    assert (result.code, result.out) == (2, "")
    assert result.err.rstrip("\n").isprintable()


async def test_a_ledger_that_can_not_be_read_hides_no_other(tmp_path: Path) -> None:
    """All others are shown, and the exit code is that of the error."""
    ledger = tmp_path / "launch.db"
    async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as junkie:
        await junkie.keys.create_many(1, provider_id=1, ledger=ledger)
    result = invoke("jobs", str(tmp_path / "missing.db"), str(ledger))
    assert result.code == 2
    assert result.out.startswith(f"{ledger}: done")
    assert "missing.db" in result.err


@pytest.mark.parametrize("content", [None, b"", b"not a ledger" * 1000])
def test_a_file_that_is_not_a_ledger(tmp_path: Path, content: bytes | None) -> None:
    """The error names the file, and the exit code is 2."""
    path = tmp_path / "launch.db"
    if content is not None:
        path.write_bytes(content)
    result = invoke("jobs", str(path))
    assert result.code == 2
    assert "launch.db" in result.err
    assert path.exists() == (content is not None)


async def test_jobs_by_name_and_by_the_environment(tmp_path: Path) -> None:
    """A ledger has many jobs, and `$JUNKIE_LEDGER` is one path, whatever blanks it has."""
    ledger = tmp_path / "my orders.db"
    async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as junkie:
        for job in ("a", "b"):
            await junkie.keys.create_many(1, provider_id=1, ledger=ledger, job=job)
    env = {"JUNKIE_LEDGER": str(ledger)}
    lines = invoke("jobs", env=env).out.splitlines()
    assert [f"; {job}, job " in line for job, line in zip("ab", lines, strict=True)] == [True] * 2
    assert invoke("jobs", "--job=b", env=env).out.splitlines() == lines[1:]
    assert invoke("jobs", "--job=c", env=env).code == 2
    assert invoke("jobs").code == 2


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u:SECRET@h/db",
        "postgresql://u:p/SECRET@h/db",
        "postgresql://u@h/db?password=SECRET",
        "postgresql://u:SECRET@[::1:1/db",
    ],
)
def test_a_password_is_no_argument(dsn: str) -> None:
    """Other users of the machine see arguments."""
    for command in (("jobs", dsn), ("keys", "provision", "5", "--provider-id=1", "--ledger", dsn)):
        result = invoke(*command, env={"JUNKIE_API_KEY": "any"})
        assert result.code == 2
        assert "SECRET" not in result.err + result.out
