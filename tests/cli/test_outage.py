"""Commands wait for a service that is failing, and say so on stderr."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console
from rich.file_proxy import FileProxy

from junkie_async import ConnectError, OutageEvent, ServerError
from junkie_async.cli._client import connect
from junkie_async.cli._progress import OutageLines
from junkie_async.cli._settings import Settings


def test_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    """The first comes at once; stdout stays free for rows."""
    clock = [0.0]
    lines = OutageLines(lambda: clock[0])
    for clock[0] in (0.0, 8.0, 16.0, 24.0, 32.0):
        lines.on_outage(
            OutageEvent(
                method="GET",
                path="/keys",
                seconds=clock[0],
                limit=600.0,
                wait=8.0,
                error=ConnectError("refused"),
            )
        )
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 3)


@pytest.mark.parametrize("seconds", [0.0, 600.0])
async def test_a_command_waits_as_a_job_does(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its single calls, too: nobody else waits for its client."""
    monkeypatch.setenv("JUNKIE_API_KEY", "any")
    async with connect(Settings(base_url="http://127.0.0.1:9", outage=seconds)) as junkie:
        assert junkie.keys.priority == "job"
        assert junkie._dispatcher._policy.outage == seconds


def test_a_line_stands_above_the_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a bar is drawn, rich replaces stderr: what is written past that lands in the bar."""
    raw, drawn = io.BytesIO(), io.StringIO()
    stderr = io.TextIOWrapper(raw, encoding="utf-8")
    proxy: Any = FileProxy(Console(file=drawn), stderr)
    monkeypatch.setattr("sys.stderr", proxy)
    error = ServerError("Injected fault", status=503)
    event = OutageEvent(method="GET", path="/keys", seconds=1.0, limit=9.0, wait=1.0, error=error)
    OutageLines().on_outage(event)
    stderr.flush()
    assert "Injected fault" in drawn.getvalue()
    assert raw.getvalue() == b""
