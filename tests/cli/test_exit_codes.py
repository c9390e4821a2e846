"""The exit codes, and which error gives which."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from junkie_async import (
    BatchError,
    ClientClosedError,
    DeleteReport,
    JunkieError,
    NotFoundError,
)
from junkie_async.cli._exit_codes import exit_on_error, get_exit_code
from junkie_async.emulator import Emulator, Faults

from ._invoke import invoke, junkie


def _all_errors(kind: type[JunkieError] = JunkieError) -> Iterator[type[JunkieError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _all_errors(below)


@pytest.mark.parametrize("kind", [*_all_errors()], ids=lambda kind: kind.__name__)
def test_every_error_has_an_exit_code(kind: type[JunkieError]) -> None:
    """Every error but one that only a bug of ours can cause has a documented exit code."""
    code = get_exit_code(kind())
    assert code == 1 if kind is ClientClosedError else code in (2, 3, 4, 5)


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What a server says reaches the screen in one line, without control characters."""
    with pytest.raises(typer.Exit) as caught, exit_on_error():
        raise NotFoundError("no\nsuch\x1b[31m key", status=404)
    assert caught.value.exit_code == 3
    assert capsys.readouterr().err == "Error: no such[31m key [404]\n"


def test_a_job_that_changed_nothing_has_the_code_of_its_cause() -> None:
    """Where it may have changed something, the code is that of partly done."""
    failed = BatchError("the job ended early", DeleteReport(requested=10, failed=10))
    failed.__cause__ = NotFoundError("no")
    assert get_exit_code(failed) == 5
    failed.did_nothing = True
    assert get_exit_code(failed) == 3


@pytest.mark.parametrize(
    "faults",
    [
        Faults(throttle_rate=1.0, retry_after=300),
        Faults(error_rate=1.0, error_status=403),
        None,
    ],
    ids=["429", "403", "401"],
)
@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["get", "--id=1"],
        ["find", "JNK"],
        ["count"],
        ["create", "--provider-id=1"],
        ["update", "--id=1", "--is-premium"],
        ["invalidate", "--id=1"],
        ["delete", "--id=1", "--yes"],
        ["purge", "--everything", "--yes"],
    ],
    ids=lambda command: command[0],
)
async def test_a_refusal_is_exit_code_3(command: list[str], faults: Faults | None) -> None:
    """A 429 that asks for too long a wait, a 403, and a wrong API key: one line, nothing done."""
    async with Emulator(api_keys={"right"} if faults is None else None, faults=faults) as emulator:
        await emulator.seed(1)
        ended = await junkie(emulator, "keys", *command)
        assert await emulator.count() == 1
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith("Error: ")
    assert ended.err.count("\n") == 1


@pytest.mark.usefixtures("quick_retries")
def test_a_service_that_can_not_be_reached_is_exit_code_4(closed_url: str) -> None:
    """After some attempts; one line."""
    ended = invoke(f"--base-url={closed_url}", "keys", "count", env={"JUNKIE_API_KEY": "any"})
    assert (ended.code, ended.out) == (4, "")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        ["get"],
        ["find"],
        ["verify"],
        ["update", "--is-premium"],
        ["invalidate"],
        ["revalidate"],
        ["reset-hwid"],
        ["delete", "--yes"],
    ],
    ids=lambda command: command[0],
)
async def test_a_missing_key_is_exit_code_1(command: list[str], tmp_path: Path) -> None:
    """A script needs one rule for all commands, by value and by ID."""
    named = [["JNK-AAAA-BBBB-CCCC"]]
    if command[0] not in ("find", "verify"):
        named.append(["--id=7"])
    async with Emulator() as emulator:
        codes = [
            (await junkie(emulator, "keys", *command, *name, cwd=tmp_path)).code for name in named
        ]
    assert set(codes) == {1}
