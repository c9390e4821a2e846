"""Every command against `junkie serve`: in a pipe, and in a terminal."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import typer.main

from junkie_async.cli import app
from junkie_async.emulator import Emulator

from ._invoke import invoke, invoke_in_terminal
from ._process import Ended, posix, serving, terminal

NOT_IN_THE_WALK = {"serve", "demo"}
"""`serve` is the service of the walk, and `demo` starts a service of its own."""


@attrs.frozen
class Step:
    """A command and its expected result.

    Attributes:
        command: Its arguments; ``{id}`` and ``{value}`` are of the key that was created first.
        piped: A pattern that matches all of its output in a pipe.
        drawn: A pattern that matches a part of its output in a terminal.
        code: Its exit code.
    """

    command: str
    piped: str
    drawn: str
    code: int = 0


STEPS = [
    Step(
        "keys get --id {id}",
        r"(?s)status\tactive\nid\t{id}\n.*key_name\tfirst\n.*",
        r"key_name +first",
    ),
    Step("keys find {value}", r"(?s).*key_name\tfirst\n.*", r"provider_id +42"),
    Step("keys find nothing", r"", r"Error: no key has this value", 1),
    Step("keys verify {value} --hwid PC", r"valid\n", r"^valid"),
    Step(
        "keys update --id {id} --key-name vip --hwids PC --hwid-limit 1",
        r"1 key updated\n",
        r"1 key updated",
    ),
    Step("keys verify {value} --hwid ANOTHER", r"not valid: hwid_mismatch\n", r"not valid", 1),
    Step("keys reset-hwid --id {id}", r"1 key unbound\n", r"1 key unbound"),
    Step("keys invalidate {value}", r"1 key invalidated\n", r"1 key invalidated"),
    Step("keys verify {value}", r"not valid: invalidated\n", r"invalidated", 1),
    Step("keys revalidate {value}", r"1 key revalidated\n", r"1 key revalidated"),
    Step("keys count", r"1\n", r"^1\b"),
    Step(
        "keys provision 250 --provider-id 7 --ledger jobs.db --out keys.txt",
        r"",
        r"250 keys, without duplicates, written to keys\.txt",
    ),
    Step(
        "jobs jobs.db",
        r"jobs\.db: done, 250 of 250 keys created; .*\n",
        r"done, 250 of 250 keys created",
    ),
    Step("keys count --by-status", r"active\t251\n(\w+\t0\n){3}", r"active +251"),
    Step("whoami", r"Address\t.*\nAPI key\t.*\nAccess\tok: 251 keys, \d+ ms\n", r"ok: 251 keys"),
    Step("keys stats --provider-id 7", r"(?s)total\t\t\t250\n.*", r"250 keys, .*UTC"),
    Step("keys list", r"(\d+\t[^\t\n]+\tactive\t[^\n]*\n){251}", r"100 of 251 keys shown"),
    Step("keys list --limit 1 --json --provider-id 42", r'\{.*"key_name":"vip".*\}\n', r'"vip"'),
    Step("keys export out.csv", r"", r"251 keys written to out\.csv"),
    Step("export out.jsonl --provider-id 7", r"", r"250 keys written to out\.jsonl"),
    Step("folders", r"\d+\tVIP\t[\d-]{10}\n", r"(?m)^ *\d+ +VIP "),
    Step("keys purge --provider-id 7 --no-such", r"", r"No such option", 2),
    Step("keys purge --provider-id 7 --dry-run --json", r"(\{.*\}\n){250}", r"250 keys would be"),
    Step("keys purge --provider-id 7 --yes", r"250 keys deleted\n", r"250 keys deleted"),
    Step("keys delete --id {id} --yes", r"1 key deleted\n", r"1 key deleted"),
    Step("keys get --id {id}", r"", r"Error: .*\[404\]|Error: .*not found", 1),
]


def names(command: Any, *above: str) -> Iterator[str]:
    """Yield the names of all commands below one; typer may use its own copy of click."""
    below = getattr(command, "commands", None)
    if below is None:
        yield " ".join(above)
        return
    for name, one in below.items():
        yield from names(one, *above, name)


async def add_folder(service: Path) -> None:
    """Add a folder, for which the API has no operation."""
    async with Emulator(service) as emulator:
        await emulator.add_folder("VIP")


def walk(
    folder: Path, do: Callable[..., Ended], check: Callable[[Step, Ended, dict[str, Any]], None]
) -> None:
    """Create a key and run all steps against a service of their own."""
    asyncio.run(add_folder(folder / "service.db"))
    with serving("--port", "0", "--db", "service.db", cwd=folder) as server:
        env = {"JUNKIE_BASE_URL": server.url, "JUNKIE_API_KEY": "any"}
        made = do("keys", "create", "--provider-id=42", "--key-name=first", cwd=folder, env=env)
        assert made.code == 0
        found = re.search(r"1 key created, with the ID (\d+)", made.out + made.err)
        assert found is not None
        key = {"value": made.out.split()[0], "id": found[1]}
        for step in STEPS:
            ended = do(*step.command.format(**key).split(), cwd=folder, env=env)
            assert "Traceback" not in ended.out + ended.err
            assert ended.code == step.code, (step.command, ended)
            check(step, ended, key)
        assert server.stop().code == 0


@posix
@pytest.mark.slow
def test_in_a_pipe(tmp_path: Path) -> None:
    """Each command prints exactly its lines to stdout, and no escape codes."""

    def check(step: Step, ended: Ended, key: dict[str, Any]) -> None:
        pattern = step.piped.replace("{id}", key["id"])
        assert re.fullmatch(pattern, ended.out), (step.command, ended)
        assert "\x1b" not in ended.out + ended.err
        assert ended.out or ended.err

    walk(tmp_path, invoke, check)
    assert len(set((tmp_path / "keys.txt").read_text().split())) == 250
    assert len((tmp_path / "out.csv").read_text("utf-8").splitlines()) == 252
    assert len((tmp_path / "out.jsonl").read_text("utf-8").splitlines()) == 250


@terminal
@pytest.mark.slow
def test_in_a_terminal(tmp_path: Path) -> None:
    """Each command prints its table or sentence."""

    def check(step: Step, ended: Ended, key: dict[str, Any]) -> None:
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", ended.out).replace("\r", "")
        assert re.search(step.drawn, plain, re.MULTILINE), (step.command, plain)

    walk(tmp_path, invoke_in_terminal, check)


def test_every_command_has_a_step() -> None:
    """A new command needs a step here."""
    done = {
        "keys create",
        *(" ".join(re.findall(r"^(?:keys )?[\w-]+", step.command)) for step in STEPS),
    }
    assert set(names(typer.main.get_command(app))) - NOT_IN_THE_WALK == done


@pytest.mark.parametrize("command", sorted(names(typer.main.get_command(app))))
def test_each_has_help(command: str) -> None:
    """The help needs neither a service nor an API key."""
    ended = invoke(*command.split(), "--help")
    assert (ended.code, ended.err) == (0, "")
    assert re.search(rf"^Usage: .*\b{command}\b", ended.out)
    assert "-h, --help" in ended.out
