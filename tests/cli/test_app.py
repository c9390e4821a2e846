"""The command itself: its help, its version, its exit codes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import junkie_async
from junkie_async import (
    BatchError,
    ClientClosedError,
    CreateReport,
    DeleteReport,
    JunkieError,
    NotFoundError,
)
from junkie_async.cli import app
from junkie_async.cli._output import describe, exit_code, friendly_errors, one_line

from ._process import run


def test_version_is_printed(tmp_path: Path) -> None:
    """`junkie --version` names the package and its version."""
    ended = run("--version", cwd=tmp_path)
    assert (ended.code, ended.out) == (0, f"junkie_async {junkie_async.__version__}\n")
    assert ended.err == ""


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_names_the_commands_and_exit_codes(option: str) -> None:
    """The help is plain text that names every command and every exit code."""
    result = CliRunner().invoke(app, [option])
    assert result.exit_code == 0
    for word in ("keys", "folders", "export", "jobs", "serve", "demo", "Exit codes", "--version"):
        assert word in result.output
    assert result.output.isascii()


@pytest.mark.parametrize("command", ["serve", "demo", "export"])
def test_each_option_has_its_help(command: str) -> None:
    """A command's help shows its options within 80 columns."""
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert all(len(line) <= 80 for line in result.output.splitlines())


def test_an_unknown_command_is_bad_usage() -> None:
    """A command that is not there gives exit code 2."""
    assert CliRunner().invoke(app, ["demos"]).exit_code == 2


def _errors(kind: type[JunkieError] = JunkieError) -> Iterator[type[JunkieError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _errors(below)


@pytest.mark.parametrize("kind", [*_errors()], ids=lambda kind: kind.__name__)
def test_every_error_has_an_exit_code(kind: type[JunkieError]) -> None:
    """Every error but one that only a bug of ours can cause has an exit code of its own kind."""
    code = exit_code(kind())
    assert code == 1 if kind is ClientClosedError else code in (2, 3, 4, 5)


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What a server says reaches the screen in one line, without controls."""
    with pytest.raises(typer.Exit) as caught, friendly_errors():
        raise NotFoundError("no\nsuch\x1b[31m key", status=404)
    assert caught.value.exit_code == 3
    assert capsys.readouterr().err == "Error: no such[31m key [404]\n"


def test_a_job_that_ended_early_says_how_far_it_came() -> None:
    """A `BatchError` is told with what was done and what may have been."""
    created = CreateReport(requested=1000, keys=("a",) * 300, failed=600, unknown=100)
    told = describe(BatchError("the job ended early", created))
    assert told == "the job ended early (300 of 1,000 keys are created, 100 may be)"
    deleted = DeleteReport(requested=2000, deleted=1000, failed=1000)
    told = describe(BatchError("the job ended early", deleted))
    assert told == "the job ended early (1,000 of 2,000 keys are deleted)"


def test_one_line_keeps_what_can_be_printed() -> None:
    """Line ends become spaces, controls vanish, letters of any script stay."""
    assert one_line(" a\r\n\tb \x07ключ ") == "a b ключ"
