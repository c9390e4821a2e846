"""What went over the wire, measured against the contract's own lists of operations and fields."""

import json
import re
from types import SimpleNamespace
from typing import Any

import aiohttp
from yarl import URL

Contract = dict[str, Any]


class Traffic:
    """Notes requests as aiohttp sends them."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, URL, bytes]] = []

    def tracing(self) -> aiohttp.TraceConfig:
        """Return what a session needs to be listened to."""
        trace = aiohttp.TraceConfig()
        trace.on_request_start.append(self._begun)
        trace.on_request_chunk_sent.append(self._written)
        return trace

    async def _begun(
        self, _: object, __: SimpleNamespace, at: aiohttp.TraceRequestStartParams
    ) -> None:
        self.sent.append((at.method, at.url, b""))

    async def _written(
        self, _: object, __: SimpleNamespace, at: aiohttp.TraceRequestChunkSentParams
    ) -> None:
        method, url, body = self.sent[-1]
        self.sent[-1] = method, url, body + at.chunk

    def operations(self, contract: Contract) -> list[str]:
        """Name the operations that were called, by operationId."""
        return [_operation(contract, method, url)["operationId"] for method, url, _ in self.sent]

    def query(self) -> set[str]:
        """Name the query parameters of the last request."""
        return set(self.sent[-1][1].query)

    def body(self) -> dict[str, Any]:
        """Decode the body of the last request."""
        body: dict[str, Any] = json.loads(self.sent[-1][2])
        return body


def _operation(contract: Contract, method: str, url: URL) -> dict[str, Any]:
    """Find an operation; a path without a placeholder comes first, as OpenAPI wants it."""
    for path in sorted(contract["paths"], key=lambda path: "{" in path):
        pattern = re.sub(r"\\\{.*?\\\}", "[^/]+", re.escape(path))
        if re.fullmatch(pattern, url.raw_path):
            operation: dict[str, Any] = contract["paths"][path][method.lower()]
            return operation
    raise AssertionError(f"the contract has no {method} {url.raw_path}")


def parameters(contract: Contract, path: str) -> set[str]:
    """Name the query parameters that the contract declares for a GET."""
    declared = contract["paths"][path]["get"]["parameters"]
    return {one["name"] for one in declared if one["in"] == "query"}


def fields(contract: Contract, method: str, path: str, *, nullable: bool = False) -> set[str]:
    """Name the fields of a request's body, or those alone that may be null."""
    operation = contract["paths"][path][method]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    properties = schema["properties"].items()
    return {name for name, one in properties if one.get("nullable") or not nullable}
