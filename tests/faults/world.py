"""The service behind the fault server: a few keys, created, changed and deleted."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs

_ROUTES = {
    ("GET", "/keys"): "list",
    ("GET", "/keys/folders"): "folders",
    ("GET", "/keys/N"): "get",
    ("PUT", "/keys/N"): "update",
    ("DELETE", "/keys/N"): "delete",
    ("POST", "/keys"): "create",
    ("POST", "/keys/batch"): "create_batch",
    ("POST", "/keys/bulk-delete"): "bulk_delete",
    ("POST", "/keys/N/reset-hwid"): "reset_hwid",
}
_OF_ONE_KEY = ("get", "update", "delete", "reset_hwid")


def operation_of(method: str, target: str) -> str:
    """Return the name of a request's operation."""
    return _ROUTES[method, re.sub(r"/\d+", "/N", target.partition("?")[0])]


@attrs.define
class Answer:
    """The service's response, before any fault."""

    status: int
    document: Any

    @property
    def body(self) -> bytes:
        """The document as JSON."""
        return json.dumps(self.document).encode()


@attrs.define
class World:
    """Keys 1 and 2 at first, and how often each operation was carried out."""

    names: dict[int, str] = attrs.field(factory=lambda: {1: "one", 2: "two"})
    bound: set[int] = attrs.field(factory=lambda: {1, 2})
    commits: dict[str, int] = attrs.field(factory=dict)
    _last_id: int = 2

    def carry_out(self, operation: str, target: str, body: bytes) -> Answer:
        """Carry out an operation, and count it unless the key does not exist."""
        number = re.search(r"\d+", target.partition("?")[0])
        key_id = int(number[0]) if number else 0
        if operation in _OF_ONE_KEY and key_id not in self.names:
            return Answer(404, {"error": "Key not found"})
        self.commits[operation] = self.commits.get(operation, 0) + 1
        given = json.loads(body) if body else {}
        answer: Answer = getattr(self, f"_{operation}")(key_id, given)
        return answer

    def _key(self, key_id: int) -> dict[str, Any]:
        return {
            "id": key_id,
            "key_value": f"JNK-{key_id:04}",
            "key_name": self.names[key_id],
            "created_at": "2026-01-01T00:00:00Z",
            "hwid_limit": 3,
            "keys_hwid": ["PC"] if key_id in self.bound else [],
        }

    def _make(self, name: str) -> int:
        self._last_id += 1
        self.names[self._last_id] = name
        return self._last_id

    def _list(self, _: int, __: Any) -> Answer:
        keys = [self._key(key_id) for key_id in self.names]
        at = {"page": 1, "limit": 100, "total": len(keys), "totalPages": 1}
        return Answer(200, {"keys": keys, "pagination": at})

    def _get(self, key_id: int, _: Any) -> Answer:
        return Answer(200, {"key": self._key(key_id)})

    def _folders(self, _: int, __: Any) -> Answer:
        return Answer(200, {"folders": [{"id": 5, "name": "main"}]})

    def _update(self, key_id: int, given: Any) -> Answer:
        self.names[key_id] = given["key_name"]
        return Answer(200, {"success": True, "message": "updated", "keys_hwid": ["PC"]})

    def _delete(self, key_id: int, _: Any) -> Answer:
        del self.names[key_id]
        return Answer(200, {"success": True})

    def _bulk_delete(self, _: int, given: Any) -> Answer:
        gone = [self.names.pop(key_id) for key_id in given["keys"] if key_id in self.names]
        return Answer(200, {"deleted": len(gone), "requested": len(given["keys"])})

    def _create(self, _: int, given: Any) -> Answer:
        return Answer(201, {"key": self._key(self._make(given.get("key_name", "new")))})

    def _create_batch(self, _: int, given: Any) -> Answer:
        values = [self._key(self._make("new"))["key_value"] for _ in range(given["amount"])]
        return Answer(201, {"keys": values, "count": len(values), "config": {"hwid_limit": 3}})

    def _reset_hwid(self, key_id: int, _: Any) -> Answer:
        self.bound.discard(key_id)
        return Answer(200, {"success": True, "message": "unbound"})
