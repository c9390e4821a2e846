"""The texts that the command line prints to stderr, and the texts that tell how much was done."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from junkie_async import BatchError, CreateReport, DeleteReport
from junkie_async.cli._exit_codes import describe_error
from junkie_async.emulator import Emulator, Faults
from tests.cli._invoke import invoke, junkie

_PURGE_HINT = (
    "Error: stdin is not a terminal: pass --yes to delete without a question, or --dry-run"
)
_TIME_HINT = "must be a date, or a date and time with a UTC offset, such as 2026-01-31T12:00:00Z"

USAGE = {
    # --- which keys ---
    "keys get": "Error: name one key: by its value, or by its ID with --id",
    "keys get JNK-1 --id=1": "Error: name one key: by its value, or by its ID with --id",
    "keys get -": "Error: stdin must have one key value, got 0",
    "keys reset-hwid": "Error: no keys: pass VALUE, --id or --from",
    "keys reset-hwid --from=empty.txt": "Error: no keys: pass VALUE, --id or --from",
    "keys reset-hwid --ids --id=1": (
        "Error: --ids applies to --from FILE or -; for an ID on the command line use --id"
    ),
    "keys reset-hwid --from=keys.txt -": (
        "Error: keys can be read from one place only: --from FILE, or -"
    ),
    "keys reset-hwid --from=nowhere.txt": "Error: nowhere.txt: No such file or directory",
    "keys reset-hwid --from=keys.txt --ids": (
        "Error: keys.txt: key 2 is not an ID, which --ids requires"
    ),
    "keys reset-hwid --from=latin.txt": "Error: latin.txt is not UTF-8 text",
    # --- options that exclude each other ---
    "keys count --by-status --status=used": "Error: --by-status and --status can't be combined",
    "keys update --id=1 --clear=folder_id --folder-id=3": (
        "Error: --folder-id and --clear folder_id can't be combined"
    ),
    "keys update --id=1 --clear=id": (
        "Error: Invalid value for '--clear': must be one of discord_id, expires_at, folder_id, "
        "hwid_limit, key_name, validity_minutes, hwids"
    ),
    "keys purge --yes": "Error: purge needs either a filter or --everything",
    "keys purge --everything --status=used": "Error: purge needs either a filter or --everything",
    "demo --live --keys=100": (
        "Error: --keys can't be used with --live, which creates and writes nothing"
    ),
    # --- values ---
    "keys list --expires-before=soon": f"Error: Invalid value for '--expires-before': {_TIME_HINT}",
    "keys list --expires-before=2026-01-01T12:00": (
        f"Error: Invalid value for '--expires-before': {_TIME_HINT}"
    ),
    # --- questions ---
    "keys delete --id=1": _PURGE_HINT,
    "keys purge --status=expired": _PURGE_HINT,
    # --- files ---
    "export nowhere/keys.csv": "Error: nowhere/keys.csv: No such file or directory",
    "export . --format=csv": "Error: .: Is a directory",
    "demo --csv=nowhere/keys.csv": "Error: --csv nowhere/keys.csv: there is no directory nowhere",
    "demo --csv=.": "Error: Invalid value for '--csv': file '.' is a directory.",
    "keys provision 10 --provider-id=1 --ledger=a.db --out=a.db": (
        "Error: --out and --ledger must be different files"
    ),
    "keys provision 10 --provider-id=1 --ledger=a.db --out=nowhere/a.txt": (
        "Error: nowhere/a.txt: No such file or directory"
    ),
    # --- the API key ---
    "--api-key-file=nowhere folders": "Error: --api-key-file nowhere: No such file or directory",
    "--api-key-file=empty.txt folders": (
        "Error: --api-key-file empty.txt: the first line is empty"
    ),
    "--api-key-file=latin.txt folders": "Error: --api-key-file latin.txt: not a UTF-8 text file",
}


@pytest.mark.parametrize("command", USAGE)
async def test_bad_usage(command: str, tmp_path: Path) -> None:
    """The last line on stderr says what is wrong and what to do; nothing is sent."""
    (tmp_path / "keys.txt").write_text("12\nJNK-SECRET\n")
    (tmp_path / "latin.txt").write_bytes(b"\xe4\n")
    (tmp_path / "empty.txt").write_text("\n \n")
    async with Emulator() as emulator:
        ended = await junkie(emulator, *command.split(), cwd=tmp_path)
        assert emulator.requests == 0
    assert (ended.code, ended.err.splitlines()[-1]) == (2, USAGE[command])


@pytest.mark.parametrize("command", ["keys list", "folders", "demo --live", "export keys.csv"])
def test_no_api_key(command: str, tmp_path: Path) -> None:
    """The command line names its own ways to give one."""
    ended = invoke(*command.split(), cwd=tmp_path)
    assert ended.err == "Error: no API key: set $JUNKIE_API_KEY or pass --api-key-file\n"


@pytest.mark.parametrize("command", ["folders", "demo --live", "whoami"])
async def test_refused_api_key(command: str, tmp_path: Path) -> None:
    """The error names where the key comes from, and its beginning tells which one it is."""
    (tmp_path / "api-key").write_text("0f1e2d3c-0000-4000-8000-000000000000\n")
    (tmp_path / "api-key").chmod(0o600)
    async with Emulator(api_keys=["right"]) as emulator:
        for options, source in (
            (["--api-key-file=api-key"], "--api-key-file api-key (the key begins with '0f1e')"),
            ([], "$JUNKIE_API_KEY"),
        ):
            ended = await junkie(emulator, *options, *command.split(), cwd=tmp_path)
            error = next(line for line in ended.err.splitlines() if line.startswith("Error: "))
            assert error.endswith(f"; check {source} [401]")


def test_api_key_file_that_others_can_read(tmp_path: Path) -> None:
    """The warning says what to do."""
    path = tmp_path / "api-key"
    path.write_text("any key")
    path.chmod(0o644)
    warning, _ = invoke(f"--api-key-file={path}", "folders").err.splitlines()
    assert warning == f"Warning: other users can read {path}; run `chmod 600 {path}`"


def test_serve_on_a_port_in_use() -> None:
    """The error names the address and the way out."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        ended = invoke("serve", f"--port={port}")
    assert ended.err == (
        f"Error: port {port} on 127.0.0.1 is in use: choose another --port, or 0 for a free one\n"
    )


def test_serve_with_a_file_it_can_not_use(tmp_path: Path) -> None:
    """A file of something else is named, and one in use with a guess at by whom."""
    (tmp_path / "notes.txt").write_text("my notes " * 500)
    ended = invoke("serve", "--port=0", "--db=notes.txt", cwd=tmp_path)
    assert ended.err == "Error: --db notes.txt: file is not a database\n"
    with closing(sqlite3.connect(tmp_path / "keys.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        ended = invoke("serve", "--port=0", "--db=keys.db", cwd=tmp_path)
    assert ended.err == (
        "Error: --db keys.db: database is locked (is another emulator using it?)\n"
    )


def test_serve_with_a_rate_that_is_no_number() -> None:
    """The error says how an API key and its rate are written."""
    ended = invoke("serve", "--port=0", "--api-key=key=fast")
    assert ended.err.splitlines()[-1] == (
        "Error: Invalid value for '--api-key': must be KEY, or KEY=RATE with a number"
    )


async def test_update_without_fields() -> None:
    """The error says what to pass."""
    async with Emulator() as emulator:
        ended = await junkie(emulator, "keys", "update", "--id=1")
    assert ended.err == "Error: nothing to change: pass an option for each field\n"


async def test_refusal_of_one_key() -> None:
    """The key is named, masked; the last line has the numbers."""
    async with Emulator() as emulator:
        await emulator.seed(1)
        ended = await junkie(emulator, "keys", "invalidate", "JNK-AAAA-BBBB-CCCC", "--id=1")
    error, summary = ended.err.splitlines()
    assert error.startswith("Error: key JNK-…CCCC: PUT /keys/{keyId}: ")
    assert summary == "1 of 2 keys invalidated"


async def test_results_of_delete_and_purge() -> None:
    """Missing keys are counted; a dry run says what would happen."""
    async with Emulator() as emulator:
        await emulator.seed(3)
        dry = await junkie(emulator, "keys", "delete", "--id=1", "--id=9", "--dry-run")
        delete = await junkie(emulator, "keys", "delete", "--id=1", "--id=9", "--yes")
        dry_purge = await junkie(emulator, "keys", "purge", "--everything", "--dry-run")
        purge = await junkie(emulator, "keys", "purge", "--everything", "--yes")
    assert dry.err == "1 key would be deleted; 1 not found\n"
    assert delete.out == "1 key deleted; 1 not found\n"
    assert dry_purge.err == "2 keys would be deleted\n"
    assert purge.out == "2 keys deleted\n"


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("keys get 1", "Error: {}"),
        ("keys find 1", "Error: {} to `junkie keys get`"),
        ("keys update 1 --key-name=a", "Error: key …: {}"),
        ("keys delete 1 --yes", "Note: {}"),
        ("keys delete 1 --dry-run", "Note: {}"),
    ],
)
async def test_value_that_looks_like_an_id(command: str, line: str) -> None:
    """The option for an ID is named where no key has such a value."""
    async with Emulator() as emulator:
        await emulator.seed(1)
        ended = await junkie(emulator, *command.split())
        assert await emulator.count() == 1
    advice = "no key has this value: for the key with the ID 1 pass --id 1"
    assert ended.err.splitlines()[-1] == line.format(advice)


async def test_date_without_a_time() -> None:
    """It is taken, and the command says which moment that is."""
    async with Emulator() as emulator:
        ended = await junkie(emulator, "keys", "list", "--expires-before=2026-12-01")
    assert ended.code == 0
    assert ended.err == "Note: 2026-12-01 is taken as midnight UTC, 2026-12-01T00:00:00Z\n"


async def test_key_that_is_not_found() -> None:
    """`find` has no error of the service to pass on."""
    async with Emulator() as emulator:
        ended = await junkie(emulator, "keys", "find", "JNK-NONE")
    assert ended.err == "Error: no key has this value\n"


async def test_job_that_failed(tmp_path: Path) -> None:
    """The error has the number of keys created, and the next line the command that resumes."""
    faults = Faults(error_rate=1.0, error_status=400, operations="createKeyBatch")
    job = ["keys", "provision", "10", "--provider-id=1", "--ledger=a.db"]
    async with Emulator(faults=faults) as emulator:
        ended = await junkie(emulator, *job, cwd=tmp_path)
    error, hint = ended.err.splitlines()
    assert error.endswith(" (0 of 10 keys created)")
    assert hint.startswith("To resume: ")


def test_error_of_a_job() -> None:
    """A `BatchError` is printed with what was done and what may have been."""
    created = CreateReport(requested=1000, keys=("a",) * 300, failed=600, unknown=100)
    error = BatchError("the job ended early", created)
    assert describe_error(error) == ("the job ended early (300 of 1,000 keys created, 100 unknown)")
    deleted = DeleteReport(requested=2000, deleted=1000, failed=1000)
    error = BatchError("the job ended early", deleted)
    assert describe_error(error) == "the job ended early (1,000 of 2,000 keys deleted)"
