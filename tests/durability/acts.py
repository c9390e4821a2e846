"""What happens to a child at one of its points, other than a SIGKILL."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from junkie_async._jobs import ledger_file, postgres_record
from junkie_async._jobs.file_lock import hold_lock
from junkie_async._jobs.journal import Journal
from junkie_async._jobs.ledger import Ledger
from junkie_async._jobs.ledger_file import OpenFiles
from junkie_async._jobs.postgres_record import PostgresRecord
from junkie_async._jobs.sqlite_record import SqliteFile

MAIN_ENDS: Final = ("return", "raise", "exit", "cancel", "interrupt")
"""How the main coroutine ends while the job is in a task; "cancel" cancels that task before."""

ENDS: Final = (*MAIN_ENDS, "terminate", "break")


class BrokenError(BaseException):
    """What no `except Exception` catches."""


def _break_thread() -> None:
    raise BrokenError


def _send(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


PROCESS_ACTS: Final[dict[str, Callable[[], None]]] = {
    "kill": _send(signal.SIGKILL),
    "terminate": _send(signal.SIGTERM),
    "interrupt": _send(signal.SIGINT),
    "break": _break_thread,
    "stop": _send(signal.SIGSTOP),
}


def _unlink(path: Path) -> None:
    path.unlink()


def _unlink_all(path: Path) -> None:
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()


def _unlink_wal(path: Path) -> None:
    path.with_name(f"{path.name}-wal").unlink()


def _unlink_lock(path: Path) -> None:
    path.with_name(f"{path.name}.lock").unlink()


def _move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))
    path.parent.mkdir()


def _replace(path: Path) -> None:
    shutil.copyfile(path, path.with_name("copy"))
    path.with_name("copy").rename(path)


def _change_folder(path: Path) -> None:
    os.chdir("/")
    path.unlink()


FILE_ACTS: Final[dict[str, Callable[[Path], None]]] = {
    "unlink": _unlink,
    "unlink all": _unlink_all,
    "unlink -wal": _unlink_wal,
    "unlink .lock": _unlink_lock,
    "move": _move_folder,
    "replace": _replace,
    "chdir": _change_folder,
}
"""What becomes of an open ledger."""


def wait_amid(act: str) -> None:
    """Leave the main thread the time to end, while the ledger's thread is amid its work."""
    if act in MAIN_ENDS:
        time.sleep(0.02)


def _replace_member(
    owner: object, member: Callable[..., object], new: Callable[..., object]
) -> None:
    assert getattr(owner, member.__name__) is member
    setattr(owner, member.__name__, new)


async def _log_in_memory(ledger: Ledger, amounts: list[int]) -> object:
    return await Journal.log_intents(ledger, amounts)


def _send_before_log() -> None:
    _replace_member(Ledger, Ledger.log_intents, _log_in_memory)


def _lock_as_sqlite() -> None:
    @contextmanager
    def lock(path: Path) -> Generator[None]:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")  # a POSIX lock, on Unix
            yield

    _replace_member(ledger_file, hold_lock, lock)


def _believe_names() -> None:
    _replace_member(OpenFiles, OpenFiles.check, lambda _: None)


def _catch_exceptions_only() -> None:
    commit = SqliteFile._commit_queue

    def commit_queue(file: SqliteFile) -> None:
        commit(file)
        if not isinstance(file._failure, Exception):
            file._failure = None

    _replace_member(SqliteFile, commit, commit_queue)


def _send_without_check() -> None:
    _replace_member(PostgresRecord, PostgresRecord.check_writer, lambda _: None)


def _write_without_epoch() -> None:
    fenced = postgres_record._WRITE_LEASE
    unfenced = fenced.replace("epoch = (it ->> 'epoch')::bigint", "TRUE")
    assert unfenced != fenced
    setattr(postgres_record, "_WRITE_LEASE", unfenced)  # noqa: B010 - it is final


GUARDS: Final[dict[str, Callable[[], None]]] = {
    "intents": _send_before_log,
    "lock": _lock_as_sqlite,
    "names": _believe_names,
    "commits": _catch_exceptions_only,
    "check": _send_without_check,
    "epoch": _write_without_epoch,
}
"""Each removes one guard from this process."""
