"""`junkie keys create` and `keys provision`: exactly the requested number of keys."""

import asyncio
import io
import os
import re
import shlex
import signal
import stat
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from junkie_async import JobEvent, JunkieClient, Key
from junkie_async.cli._progress import Bar, LogLines, WaitNotice, make_bar
from junkie_async.cli._settings import Settings
from junkie_async.cli.keys.create import _quote_command_line
from junkie_async.emulator import Emulator, Faults

from ._invoke import junkie, junkie_in_terminal
from ._process import (
    emulator_environment,
    environment,
    posix,
    run_and_signal,
    start_process,
    terminal,
    wait_for_end,
)


async def _values(emulator: Emulator) -> list[str]:
    async with JunkieClient("any", base_url=emulator.url) as client:
        return sorted([key.key_value async for key in client.keys.list()])


async def test_create_prints_the_value(tmp_path: Path) -> None:
    """Only the value is on stdout, and the key has the given fields."""
    async with Emulator() as emulator:
        options = ["--service-id=4", "--folder-id=3", "--key-name=launch", "--validity-minutes=60"]
        options += ["--is-premium", "--hwid-limit=2", "--hwids=PC", "--hwids=Mac"]
        ended = await junkie(emulator, "keys", "create", "--provider-id=9", *options, cwd=tmp_path)
        async with JunkieClient("any", base_url=emulator.url) as client:
            key = await client.keys.get(1)
    assert (ended.code, ended.err) == (0, "1 key created, with the ID 1\n")
    assert ended.out == f"{key.key_value}\n"
    assert (key.provider_id, key.service_id, key.folder_id, key.key_name) == (9, 4, 3, "launch")
    assert (key.validity_minutes, key.is_premium, key.hwid_limit) == (60, True, 2)
    assert (key.keys_hwid, key.one_time_use) == (("PC", "Mac"), False)


async def test_create_prints_the_complete_key_as_json() -> None:
    """The value is not masked."""
    async with Emulator() as emulator:
        result = await junkie(emulator, "keys", "create", "--provider-id=9", "--json")
        assert [msgspec.json.decode(result.out, type=Key).key_value] == await _values(emulator)


async def test_create_with_unknown_outcome_is_exit_code_5() -> None:
    """The request is not sent again: the key may exist."""
    async with Emulator(faults=Faults(drop_after_rate=1.0, operations="createKey")) as emulator:
        result = await junkie(emulator, "keys", "create", "--provider-id=9")
        assert await emulator.count() == 1
    assert (result.code, result.out) == (5, "")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [["create"], ["create", "--provider-id=0"], ["create", "--provider-id=1", "--hwid-limit=-1"]],
)
async def test_bad_fields_send_nothing(arguments: list[str]) -> None:
    """A missing provider, or a value out of its limits, is bad usage."""
    async with Emulator() as emulator:
        result = await junkie(emulator, "keys", *arguments)
        assert emulator.requests == 0
    assert (result.code, result.out) == (2, "")


_JOB = ("keys", "provision", "3000", "--provider-id=9", "--ledger=launch.db", "--reconcile-after=1")


async def test_provision_writes_every_value_once(tmp_path: Path) -> None:
    """The file is private. A second run creates nothing and writes the same values."""
    async with Emulator() as emulator:
        job = (*_JOB, "--out=keys.txt", "--key-name=launch")
        ended = await junkie(emulator, *job, cwd=tmp_path)
        path = tmp_path / "keys.txt"
        assert sorted(path.read_text("utf-8").splitlines()) == await _values(emulator)
        path.unlink()
        again = await junkie(emulator, *job, cwd=tmp_path)
        assert sorted(path.read_text("utf-8").splitlines()) == await _values(emulator)
        assert await emulator.count() == 3000
    for each in (ended, again):
        assert (each.code, each.out) == (0, "")
        assert each.err == "3,000 keys, without duplicates, written to keys.txt\n"
    if sys.platform != "win32":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_provision_to_stdout(tmp_path: Path) -> None:
    """Without --out the values go to stdout."""
    async with Emulator() as emulator:
        ended = await junkie(emulator, *_JOB, cwd=tmp_path)
        assert sorted(ended.out.splitlines()) == await _values(emulator)
    assert (ended.code, ended.err) == (0, "3,000 keys, without duplicates, written to stdout\n")


@posix
@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.slow
async def test_a_stopped_job_resumes(name: signal.Signals, tmp_path: Path) -> None:
    """After a signal it prints how to resume; after SIGKILL nothing. Both end with N keys."""
    path = tmp_path / "keys.txt"
    async with Emulator(latency=0.1) as emulator:
        ended = await run_and_signal(
            emulator, name, *_JOB, "--out=keys.txt", cwd=tmp_path, when=_has_500
        )
        assert 0 < await emulator.count() < 3000
        assert not path.exists()
        emulator.latency = 0.0
        if name == signal.SIGKILL:
            command = [sys.executable, "-m", "junkie_async", *_JOB, "--out=keys.txt"]
        else:
            assert (ended.code, ended.out) == (130, "")
            stopped, hint = ended.err.splitlines()
            assert stopped == f"Error: stopped: {await emulator.count():,} of 3,000 keys created"
            command = shlex.split(hint.removeprefix("To resume: "))
        again = await asyncio.create_subprocess_exec(
            *command, cwd=tmp_path, env=environment(emulator_environment(emulator))
        )
        assert await asyncio.wait_for(again.wait(), 30) == 0
        assert await emulator.count() == 3000
        assert sorted(path.read_text("utf-8").splitlines()) == await _values(emulator)


async def _has_500(emulator: Emulator) -> bool:
    return await emulator.count() >= 500


@posix
async def test_a_closed_pipe_stops_a_job(tmp_path: Path) -> None:
    """Unlike a list, the job is not done: the exit code is 5, and it prints how to resume."""
    ours, theirs = os.pipe()
    async with Emulator() as emulator:
        process = await start_process(
            *_JOB, cwd=tmp_path, env=emulator_environment(emulator), stdout=theirs
        )
        os.close(theirs)
        os.close(ours)
        ended = await wait_for_end(process)
    assert ended.code == 5
    _, hint = ended.err.splitlines()
    assert hint.startswith("To resume: ")


async def test_a_failed_job_prints_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code is 5, and the same command creates the rest later."""
    monkeypatch.chdir(tmp_path)
    faults = Faults(error_rate=0.3, error_status=400, operations="createKeyBatch", seed=1)
    async with Emulator(faults=faults) as emulator:
        failed = await junkie(emulator, *_JOB, "--out=keys.txt")
        created = await emulator.count()
        emulator.faults = None
        again = await junkie(emulator, *_JOB, "--out=keys.txt")
        assert await emulator.count() == 3000
    assert (failed.code, failed.out) == (5, "")
    # Lines of progress may come before these: after ten seconds, on a busy machine.
    error, hint = failed.err.splitlines()[-2:]
    assert f"({created:,} of 3,000 keys created)" in error
    assert hint.startswith("To resume: ")
    done = "3,000 keys, without duplicates, written to keys.txt"
    assert (again.code, again.err.splitlines()[-1]) == (0, done)


@posix
async def test_a_resumed_job_says_that_it_waits(tmp_path: Path) -> None:
    """Requests of the run before may still take effect."""
    faults = Faults(drop_after_rate=1.0, operations="createKeyBatch")
    async with Emulator(faults=faults) as emulator:
        async with JunkieClient("any", base_url=emulator.url) as client:
            run = client.keys.create_many(3000, provider_id=9, ledger=tmp_path / "launch.db")
            task = asyncio.ensure_future(run)
            while await emulator.count() < 100:
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        emulator.faults = None
        job = (*_JOB, "--out=keys.txt", "--reconcile-after=3600")
        process = await start_process(*job, cwd=tmp_path, env=emulator_environment(emulator))
        assert process.stderr is not None
        line = await process.stderr.readline()
        process.send_signal(signal.SIGINT)
        ended = await wait_for_end(process)
    assert re.fullmatch(rb"Waiting 3[56]\d\d s for requests with unknown outcome, .*\n", line)
    assert ended.code == 130


def test_a_wait_is_a_countdown_in_the_bar() -> None:
    """It shows no rate and no time left, until the job goes on."""
    now = 0.0
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    progress = make_bar(console, lambda: now)
    notice = WaitNotice()
    notice.on_progress = show = Bar(progress, "Keys")

    def read_bar() -> str:
        with console.capture() as captured:
            console.print(progress.get_renderable())
        return re.sub(r"\x1b\[[\d;]*m", "", captured.get())

    for now in (0.0, 1.0, 2.0):
        show(int(now) * 1000, 20_000)
    assert "1,000/s 00:18" in read_bar()
    notice.on_job(JobEvent(job="create_many", keys=0, done=18_800, total=20_000, waiting=116))
    assert "18,800 of 20,000  waiting 1:56" in read_bar()
    show(18_800, 20_000)
    now = 12.5
    assert "waiting 1:46" in read_bar()
    now = 500.0
    assert "waiting 0:00" in read_bar()
    assert "/s" not in read_bar()
    show(19_000, 20_000)
    assert "waiting" not in read_bar()
    assert "19,000 of 20,000" in read_bar()


async def test_a_job_that_created_nothing_has_the_code_of_its_cause(tmp_path: Path) -> None:
    """A refused API key gives exit code 3."""
    async with Emulator(api_keys={"right"}) as emulator:
        job = ["keys", "provision", "10", "--provider-id=9", f"--ledger={tmp_path / 'a.db'}"]
        result = await junkie(emulator, *job)
    assert result.code == 3
    assert "(0 of 10 keys created)" in result.err


@posix
async def test_a_ledger_that_is_a_link_to_itself(tmp_path: Path) -> None:
    """It is bad usage, in one line."""
    (tmp_path / "launch.db").symlink_to("launch.db")
    async with Emulator() as emulator:
        result = await junkie(emulator, *_JOB, "--out=keys.txt", cwd=tmp_path)
        assert emulator.requests == 0
    assert (result.code, result.out) == (2, "")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    "changes",
    [
        ["--provider-id=8"],
        ["--out=launch.db"],
        ["--out=nowhere/keys.txt"],
        ["--ledger=nowhere/launch.db"],
        ["--reconcile-after=-1"],
        ["--hwid-limit=101"],
    ],
)
async def test_bad_usage_of_provision_sends_nothing(
    changes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another job's ledger or a file that can't be written is bad usage, and can't be resumed."""
    monkeypatch.chdir(tmp_path)
    async with Emulator() as emulator:
        first = await junkie(emulator, *_JOB)
        assert first.code == 0
        before = emulator.requests
        result = await junkie(emulator, *_JOB, *changes)
        assert emulator.requests == before
    assert (result.code, result.out) == (2, "")
    assert "To resume" not in result.err


async def test_a_ledger_is_required() -> None:
    """A default name could be another job's ledger."""
    async with Emulator() as emulator:
        result = await junkie(emulator, "keys", "provision", "10", "--provider-id=9")
    assert result.code == 2
    assert "--ledger" in result.err


@terminal
async def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    """The bar has the count and the rate, and the result is the last line."""
    async with Emulator(latency=0.2) as emulator:
        ended = await junkie_in_terminal(emulator, *_JOB, "--out=keys.txt", cwd=tmp_path)
        rows = await junkie_in_terminal(emulator, *_JOB, cwd=tmp_path)
    assert (ended.code, rows.code) == (0, 0)
    assert "━" in ended.out
    assert " of 3,000" in ended.out
    assert "/s" in ended.out
    assert ended.out.endswith("3,000 keys, without duplicates, written to keys.txt\r\n")
    assert "━" not in rows.out


def test_a_log_gets_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    """Keys of earlier runs don't count as speed."""
    clock = iter([0.0, 1.0, 5.0, 10.0, 10.0, 15.0, 20.0, 20.0, 30.0, 30.0])
    log_progress = LogLines("Keys", lambda: next(clock))
    for done in (1000, 1500, 2000, 2500, 4000):
        log_progress(done, 10_000)
    log_progress(4000, None)
    assert capsys.readouterr().err.splitlines() == [
        "Keys: 2,000 of 10,000, 100/s, 80 s left",
        "Keys: 4,000 of 10,000, 200/s, 30 s left",
        "Keys: 4,000, 0/s",
    ]


@posix
def test_the_command_line_is_quoted_for_a_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program is named by its path unless a shell finds it by its name."""
    program = tmp_path / "junkie"
    program.touch(mode=0o700)
    monkeypatch.setattr(sys, "argv", [str(program), "keys", "--key-name=a b"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _quote_command_line(Settings()) == "junkie keys '--key-name=a b'"
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert _quote_command_line(Settings()) == f"{program} keys '--key-name=a b'"


@pytest.mark.parametrize("user", ["shop:p@ss", "shop"])
@pytest.mark.parametrize("scheme", ["http://", "https://", ""])
def test_the_command_line_has_no_password(
    user: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy's user and password are left out: the line may be in a log."""
    proxy = f"{scheme}{user}@proxy.example:3128"
    for arguments in (["--proxy", proxy, "keys"], [f"--proxy={proxy}", "keys"]):
        monkeypatch.setattr(sys, "argv", ["junkie", *arguments])
        shown = _quote_command_line(Settings(proxy=proxy))
        assert user not in shown
        assert f"{scheme}***@proxy.example:3128" in shown
    assert user not in repr(Settings(proxy=proxy))


async def test_a_new_job_replaces_no_keys_of_another(tmp_path: Path) -> None:
    """The file may be the only list of what was sold. A job that is run again replaces its own."""
    provision = ("keys", "provision", "5", "--provider-id=9", "--out=keys.txt")
    async with Emulator() as emulator:
        codes = [
            (await junkie(emulator, *provision, f"--ledger={ledger}", cwd=tmp_path)).code
            for ledger in ("a.db", "b.db", "a.db")
        ]
        assert sorted((tmp_path / "keys.txt").read_text().split()) == await _values(emulator)
    assert codes == [0, 2, 0]
