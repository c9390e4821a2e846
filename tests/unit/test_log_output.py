"""Where log lines go when nobody has configured logging, and `$JUNKIE_LOG`."""

from __future__ import annotations

import contextlib
import io
import logging
import subprocess
import sys
from collections.abc import Iterator

import pytest

from junkie_async._http import log_output

from .clock import run
from .scripted import FOLDERS, Script, make_dispatcher

LINE = "GET /keys/folders: "


@contextlib.contextmanager
def unconfigured() -> Iterator[None]:
    """Be a program that has configured no logging: without the handlers of pytest."""
    # Not a fixture: pytest removes its handlers when the test ends, before fixtures do.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.root, "handlers", [])
        patch.setattr(log_output._repeat_filter, "_written", {})
        yield


def send() -> None:
    """Make a client's call."""
    run(make_dispatcher(Script()).send(FOLDERS))


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Switch the lines off again."""
    monkeypatch.delenv("JUNKIE_LOG", raising=False)
    yield
    monkeypatch.delenv("JUNKIE_LOG", raising=False)
    make_dispatcher(Script())


# --- without configuration ------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["", ".ext", ".ext.discord", ".emulator"])
def test_warnings_are_seen(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings reach stderr; the lines about requests do not."""
    with unconfigured():
        logging.getLogger(f"junkie_async{part}").warning("something is wrong")
        send()
    assert capsys.readouterr().err == "something is wrong\n"


def test_under_servers_and_bots() -> None:
    """Uvicorn and discord.py configure their own loggers, and leave these warnings alone."""
    code = """
import discord, logging, uvicorn, junkie_async
uvicorn.Config(None).configure_logging()
discord.utils.setup_logging(root=False)
logging.getLogger("junkie_async.ext").error("seen")
"""
    done = subprocess.run(
        [sys.executable, "-Wignore", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "seen\n")


def record(text: str, at: float, error: Exception | None = None) -> logging.LogRecord:
    """Make a warning of a second."""
    created = 1_800_000_000.0 + at
    fields = {
        "msg": text,
        "created": created,
        "levelno": logging.WARNING,
        "name": "junkie_async.ext",
    }
    return logging.makeLogRecord(
        fields | {"exc_info": error and (type(error), error, error.__traceback__)}
    )


def test_repeats() -> None:
    """A cause is written once a minute: the line, and the class of an exception with it."""
    log = logging.getLogger("junkie_async.ext")
    records = [
        (record("outage", 0.0), True),
        (record("outage", 1.0), False),
        (record("wrong key", 1.0), True),
        (record("hook", 2.0, KeyError()), True),
        (record("hook", 2.0, ValueError()), True),
        (record("hook", 2.0, KeyError()), False),
        (record("outage", 59.9), False),
        (record("outage", 120.0), True),
        (record("outage", 60.0), True),  # the clock was set back
    ]
    with unconfigured():
        assert [bool(log.filter(one)) for one, _ in records] == [seen for _, seen in records]
    configured = [log.filter(record("outage", 60.0)) for _ in range(2)]  # by pytest
    assert all(configured)


def test_repeats_with_a_handler_for_these_lines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program that has set it gets all of them."""
    log = logging.getLogger("junkie_async")
    with unconfigured():
        monkeypatch.setattr(log, "handlers", [logging.NullHandler()])
        line = record("outage", 0.0)
        assert all(logging.getLogger(line.name).filter(line) for _ in range(2))


# --- $JUNKIE_LOG ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "level"), [("debug", "DEBUG"), ("info", "INFO"), (" INFO ", "INFO")]
)
def test_the_switch(
    value: str, level: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines about requests are on from the next client on, and off from one without it."""
    monkeypatch.setenv("JUNKIE_LOG", value)
    with unconfigured():
        send()
        logging.getLogger("junkie_async.ext").warning("once")
    written = capsys.readouterr().err.splitlines()
    assert f" {level} junkie_async: {LINE}" in written[0]
    assert written[1].endswith(" WARNING junkie_async.ext: once")
    assert len(written) == 2
    monkeypatch.delenv("JUNKIE_LOG")
    with unconfigured():
        send()
    assert capsys.readouterr().err == ""


def test_no_line_is_written_twice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines that the program's own handler writes to stderr are left to it."""
    monkeypatch.setenv("JUNKIE_LOG", "debug")
    handler = logging.StreamHandler()
    with unconfigured():
        logging.root.addHandler(handler)
        send()
        handler.setLevel(logging.WARNING)
        send()
    assert [LINE in line for line in capsys.readouterr().err.splitlines()] == [True, True]


def test_another_value(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Another value is ignored, with a warning that does not show it."""
    monkeypatch.setenv("JUNKIE_LOG", "secret")
    with unconfigured():
        send()
    (line,) = capsys.readouterr().err.splitlines()
    assert "JUNKIE_LOG" in line
    assert "secret" not in line


@pytest.mark.parametrize("handler", [logging.NullHandler(), logging.StreamHandler(io.StringIO())])
def test_handlers_that_write_elsewhere(
    handler: logging.Handler,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a handler for a file, or for nothing, the lines that were asked for are still seen."""
    monkeypatch.setenv("JUNKIE_LOG", "info")
    with unconfigured():
        logging.root.addHandler(handler)
        send()
    assert LINE in capsys.readouterr().err
