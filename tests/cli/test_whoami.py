"""`junkie whoami`: one request, and for each thing that is wrong its exit code and its advice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from junkie_async.emulator import Emulator, Faults

from ._invoke import invoke, junkie, junkie_in_terminal
from ._process import terminal

API_KEY = "3c0f2b9e-aaaa-4bbb-8ccc-ddddeeeeffff"


async def check(url: str, *options: str, **env: str) -> dict[str, Any]:
    """Run it, and return its JSON with the exit code. The whole API key is shown nowhere."""
    given = {"JUNKIE_API_KEY": API_KEY, "JUNKIE_BASE_URL": url, **env}
    ended = await asyncio.to_thread(invoke, *options, "whoami", "--json", env=given)
    assert API_KEY not in ended.out + ended.err
    return {**json.loads(ended.out), "code": ended.code}


@asynccontextmanager
async def answering(head: str, body: str) -> AsyncIterator[str]:
    """A server with one answer to everything."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_all_is_well() -> None:
    """One request that changes nothing, and the facts."""
    async with Emulator() as emulator:
        await emulator.seed(3)
        found = await check(emulator.url)
        assert emulator.calls == {"listKeys": 1}
        assert found["base_url"] == emulator.url
    assert (found["code"], found["ok"], found["keys"]) == (0, True, 3)
    assert found["base_url_from"] == "$JUNKIE_BASE_URL"
    assert (found["api_key"], found["api_key_from"]) == ("3c0f…", "$JUNKIE_API_KEY")
    assert found["error"] is found["advice"] is None


async def test_a_service_that_states_no_total() -> None:
    """The one key of the page is not the number of all keys."""
    body = '{"keys": [{"id": 1, "key_value": "JNK-1"}]}'
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json"
    async with answering(head, body) as url:
        found = await check(url)
        ended = await asyncio.to_thread(
            invoke, "whoami", env={"JUNKIE_API_KEY": API_KEY, "JUNKIE_BASE_URL": url}
        )
    assert (found["code"], found["ok"], found["keys"]) == (0, True, None)
    assert "key" not in ended.out.splitlines()[2]


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, 3, "revoked"),
        (403, 3, "rest-api:*"),
        (404, 3, "/api/v2"),
        (429, 3, "too much"),
        (500, 3, "fails"),
        (503, 3, "fails"),
    ],
)
async def test_refusals(status: int, code: int, words: str) -> None:
    """Each status has advice of its own, after one request."""
    faults = Faults(error_rate=1.0, error_status=status)
    async with Emulator(faults=faults) as emulator:
        found = await check(emulator.url)
        assert emulator.requests == 1
    assert (found["code"], found["ok"], found["keys"]) == (code, False, None)
    assert f"[{status}]" in found["error"]
    assert words in found["advice"]


@pytest.mark.parametrize(
    ("head", "body", "words"),
    [
        ("HTTP/1.1 200 OK\r\nContent-Type: text/html", "<html>", "/api/v2"),
        ("HTTP/1.1 301 Moved\r\nLocation: https://keys.example/", "", "/api/v2"),
        ("HTTP/1.1 403 Forbidden\r\nContent-Type: text/html", "<html>", "CDN"),
    ],
)
async def test_answers_of_others(head: str, body: str, words: str) -> None:
    """A web page or a redirect means another address, and a challenge says nothing of the key."""
    async with answering(head, body) as url:
        found = await check(url)
    assert (found["code"], found["ok"]) == (3, False)
    assert words in found["advice"]


async def test_no_service(closed_url: str) -> None:
    """No connection, and no TLS where it should be spoken."""
    found = await check(closed_url)
    assert (found["code"], found["ok"]) == (4, False)
    assert "network" in found["advice"]
    async with Emulator() as emulator:
        found = await check(emulator.url.replace("http:", "https:"))
    assert found["code"] == 4
    assert "not checked" in found["advice"]


@pytest.mark.parametrize(
    ("url", "env"),
    [
        ("http://keys.example/api/v2", {}),
        ("https://user:secret@keys.example", {}),
        ("keys.example", {}),
    ],
)
async def test_configuration(url: str, env: dict[str, str]) -> None:
    """What is refused before anything is sent is not shown: it may have a password."""
    found = await check(url, **env)
    assert (found["code"], found["ok"], found["base_url"]) == (2, False, None)
    assert "secret" not in str(found)


async def test_a_bad_api_key_for_a_good_address() -> None:
    """The address is shown: it is not what is wrong."""
    found = await check("https://keys.example", JUNKIE_API_KEY="two words")
    assert (found["code"], found["ok"], found["base_url"]) == (2, False, "https://keys.example")


def test_no_api_key() -> None:
    """As with all commands."""
    assert invoke("whoami").code == 2


async def test_sources_of_address_and_key(tmp_path: Path) -> None:
    """A short API key is not shown at all."""
    path = tmp_path / "key"
    path.write_text("short-key\n")
    path.chmod(0o600)
    async with Emulator() as emulator:
        options = (f"--api-key-file={path}", f"--base-url={emulator.url}")
        found = await check("http://127.0.0.1:9", *options)
    assert (found["code"], found["base_url_from"]) == (0, "--base-url")
    assert (found["api_key"], found["api_key_from"]) == ("…", f"--api-key-file {path}")


async def test_lines_in_a_pipe() -> None:
    """Three lines, and what is wrong on stderr."""
    async with Emulator(api_keys={"right"}) as emulator:
        ended = await junkie(emulator, "whoami")
    assert [line.split("\t")[0] for line in ended.out.splitlines()] == [
        "Address",
        "API key",
        "Access",
    ]
    assert (ended.code, ended.err.count("\n")) == (3, 2)


@terminal
async def test_in_a_terminal() -> None:
    """The same three lines."""
    async with Emulator() as emulator:
        ended = await junkie_in_terminal(emulator, "whoami")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert [line[:9] for line in lines] == ["Address  ", "API key  ", "Access   "]
    assert lines[2].startswith("Access   ok: 0 keys")
