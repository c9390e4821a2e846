"""A program of its own: makes a client, and then every call while nothing can be imported.

The test's server runs in the same process, so it has loaded its own modules before.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from aiohttp import web

from junkie_async import ConnectError, JunkieClient, JunkieError, Keys, Outcome, RetryPolicy

KEY = {"id": 1, "key_value": "JNK-1", "created_at": "2026-01-01T00:00:00Z"}
PAGINATION = {"total": 1, "totalPages": 1, "page": 1}
GOOD: dict[str, Any] = {"key": KEY, "folders": [], "deleted": 1, "count": 1}
# What the strict reader refuses, and the lenient one may have to.
BAD: dict[str, Any] = {
    "keys": [KEY, {"id": "x"}],
    "pagination": PAGINATION,
    "key": {"id": 7.0, "key_value": 5},
    "folders": [{"id": None}],
    "count": None,
    "deleted": 1.0,
}

CALLS: dict[str, Callable[[Keys], Awaitable[object]]] = {
    "list": lambda keys: keys.list(),
    "walk": lambda keys: keys.list().collect(),
    "get": lambda keys: keys.get(1),
    "find": lambda keys: keys.find("JNK-1"),
    "verify": lambda keys: keys.verify("JNK-1", hwid="x"),
    "verify again": lambda keys: keys.verify("JNK-1", max_age=60, stale_if_error=60),
    "create": lambda keys: keys.create(provider_id=1, validity_minutes=1),
    "create_batch": lambda keys: keys.create_batch(provider_id=1, amount=1),
    "create_many": lambda keys: keys.create_many(1, provider_id=1),
    "update": lambda keys: keys.update(1, key_name="x"),
    "delete": lambda keys: keys.delete(1),
    "bulk_delete": lambda keys: keys.bulk_delete([1]),
    "delete_many": lambda keys: keys.delete_many([1]),
    "purge": lambda keys: keys.purge(everything=True),
    "reset_hwid": lambda keys: keys.reset_hwid(1),
    "folders": lambda keys: keys.folders(),
}


class NoImports:
    """A finder that refuses every module: the files of the packages are gone."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Refuse."""
        self.asked.append(name)
        raise ImportError(name)


class Service:
    """Answers as `mode` says; every second answer of some modes is good."""

    def __init__(self) -> None:
        self.mode = "good"
        self.answers = 0

    async def handle(self, request: web.Request) -> web.Response:
        """Answer."""
        self.answers += 1
        is_odd = self.answers % 2 == 1
        if self.mode == "html" and is_odd:
            return web.Response(status=503, text="<html>busy</html>", content_type="text/html")
        if self.mode == "429" and is_odd:
            stated = {"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "Thu, 01 Jan 2026"}
            headers = {"Retry-After": "0", **stated}
            return web.json_response({"error": "slow"}, status=429, headers=headers)
        if self.mode == "refusal":
            return self.compress({"error": "JNK-1... is %4a"}, 400)
        if self.mode == "bad rows":
            return web.json_response(BAD)
        if request.method == "GET":
            return self.compress({**GOOD, "keys": [KEY], "pagination": PAGINATION})
        value = f"JNK-{self.answers}"  # no two creations give the same
        return self.compress({**GOOD, "key": {**KEY, "key_value": value}, "keys": [value]})

    def compress(self, document: object, status: int = 200) -> web.Response:
        """Answer with gzip."""
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        body = gzip.compress(json.dumps(document).encode())
        return web.Response(body=body, status=status, headers=headers)


async def main(arguments: Sequence[str]) -> None:
    """Make every call in every mode, and print what went wrong."""
    service = Service()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", service.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)  # loads the server's modules
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    await reader.read()
    writer.close()
    retry = RetryPolicy(wait_initial=0.0, wait_jitter=0.0, outage=0.0)
    async with JunkieClient("secret", base_url=f"http://localhost:{port}", retry=retry) as junkie:
        finder = NoImports()
        sys.meta_path.insert(0, finder)
        if "descriptors" in arguments:
            await run_out_of_descriptors(junkie.keys)
            return
        for service.mode in ("good", "html", "429", "refusal", "bad rows"):
            for name, call in CALLS.items():
                try:
                    await call(junkie.keys)
                except JunkieError:
                    pass
                except Exception as error:  # what the test is about
                    print(f"{name} of a service with {service.mode}: {error!r}")
        service.mode = "good"
        with tempfile.TemporaryDirectory() as folder:
            await junkie.keys.create_many(1, provider_id=1, ledger=Path(folder, "ledger.db"))
        sys.meta_path.remove(finder)
    print(*finder.asked, sep="\n")
    await runner.cleanup()


async def run_out_of_descriptors(keys: Keys) -> None:
    """Print what calls raise in a process that can't open a socket."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    for name, call in CALLS.items():
        try:
            await call(keys)
        except JunkieError as error:
            cause = error.__cause__ or error
            if not isinstance(cause, ConnectError) or cause.outcome is not Outcome.NOT_EXECUTED:
                print(f"{name}: {error!r}")
        except Exception as error:  # what the test is about
            print(f"{name}: {error!r}")
        else:
            print(f"{name} succeeded")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
