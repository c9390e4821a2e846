"""`junkie export`: keys to a file, or to another program."""

import asyncio
import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from .. import JunkieClient, KeyPager, KeyStatus, OnProgress
from ..export import Format, export_keys
from ._output import ExitCode, drop_stdout, fail, friendly_errors

_STDOUT = "-"
_PREFETCH = 16
"""Pages fetched at once: a command has nothing else to do."""


def _moment(text: str) -> datetime:
    """Read a date and time with its offset, as the API writes it."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise typer.BadParameter("a date and time with an offset, such as 2026-01-31T12:00:00Z")
    return at


def export(
    path: Annotated[
        str,
        typer.Argument(metavar="PATH|-", help="The file, which only you may read; - is stdout."),
    ],
    file_format: Annotated[
        Format | None, typer.Option("--format", help="What to write.  [default: by the suffix]")
    ] = None,
    bom: Annotated[
        bool, typer.Option("--bom", help="Begin a CSV file with a byte order mark, for Excel.")
    ] = False,
    discord_id: Annotated[str | None, typer.Option(help="The owner on Discord.")] = None,
    key: Annotated[str | None, typer.Option(help="A part of the key value.")] = None,
    hwid: Annotated[str | None, typer.Option(help="A part of a bound device's identifier.")] = None,
    service_id: Annotated[int | None, typer.Option(help="The service.")] = None,
    provider_id: Annotated[int | None, typer.Option(help="The provider.")] = None,
    folder_id: Annotated[int | None, typer.Option(help="The folder.")] = None,
    status: Annotated[KeyStatus | None, typer.Option(help="What the keys are worth.")] = None,
    expires_before: Annotated[
        datetime | None,
        typer.Option(parser=_moment, metavar="TIME", help="Such as 2026-01-31T12:00:00Z."),
    ] = None,
    expires_after: Annotated[
        datetime | None, typer.Option(parser=_moment, metavar="TIME", help="Likewise.")
    ] = None,
) -> None:
    """Write keys to a CSV or JSON Lines file.

    All keys, or those that the filters leave, with all their fields: to PATH.csv, which is safe
    to open in a spreadsheet, or to PATH.jsonl or PATH.ndjson. The file is there at the end,
    whole, in place of an old one; when anything goes wrong, the old one stays. The API key is
    read from $JUNKIE_API_KEY.
    """
    filters = {
        "discord_id": discord_id,
        "key": key,
        "hwid": hwid,
        "service_id": service_id,
        "provider_id": provider_id,
        "folder_id": folder_id,
        "status": status,
        "expires_before": expires_before,
        "expires_after": expires_after,
    }
    with friendly_errors(), _own_errors(path):
        written = asyncio.run(_export(path, file_format, bom, filters))
    typer.echo(f"{written:,} keys written to {_named(path)}", err=True)


async def _export(path: str, chosen: Format | None, bom: bool, filters: dict[str, Any]) -> int:
    with _terminable(), _progress(path) as progress:
        async with JunkieClient() as junkie:
            keys: KeyPager = junkie.keys.list(prefetch=_PREFETCH, **filters)
            to = _stdout() if path == _STDOUT else path
            return await export_keys(keys, to, format=chosen, bom=bom, on_progress=progress)


def _named(path: str) -> str:
    return "stdout" if path == _STDOUT else path


def _stdout() -> TextIO:
    """Give stdout as the format wants it, whatever the terminal's own encoding is."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="strict", newline="")
    return sys.stdout


@contextlib.contextmanager
def _own_errors(path: str) -> Iterator[None]:
    """Tell in one line what is not the client's: the file's errors, and a signal."""
    try:
        yield
    except BrokenPipeError:
        drop_stdout()
        fail("the reader of stdout left before the end", ExitCode.PARTLY)
    except OSError as error:  # the client has its own errors
        fail(f"{_named(path)}: {error.strerror or error}")
    except (KeyboardInterrupt, asyncio.CancelledError):
        left = "" if path == _STDOUT else f"; {path} is as it was"
        fail(f"stopped{left}", ExitCode.STOPPED)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Make SIGTERM end the task as Ctrl-C does, so that no temporary file is left."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    # Not on Windows, which has no SIGTERM to speak of, and not beside a main thread.
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    yield


@contextlib.contextmanager
def _progress(path: str) -> Iterator[OnProgress | None]:
    """Draw a bar where a person looks and no rows run through it."""
    drawn = sys.stderr.isatty() and not (path == _STDOUT and sys.stdout.isatty())
    if not drawn or os.environ.get("TERM") == "dumb":
        yield None
        return
    columns = (TextColumn("Keys"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
