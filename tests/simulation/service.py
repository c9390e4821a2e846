"""The simulated service: keys in memory, behind a limiter, with everything that it does wrong."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from random import Random
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

from .event_loop import SimulatedLoop

EPOCH: Final = 1_790_000_000.0
"""The service's clock when the loop's is 0."""

PROVIDER: Final = 42
LATE: Final = (0.01, 3.0)
"""Seconds after which a late request is executed."""

RECONCILE_AFTER: Final = 10.0
"""What jobs wait: longer than any request takes through the network and the service."""

ORDERS: Final = ("newest first", "oldest first", "by value")
"""In which order keys are listed."""

Reply: TypeAlias = tuple[int, dict[str, str], bytes]
_Show: TypeAlias = "Callable[[list[Row], dict[str, Any]], dict[str, Any]]"


@attrs.define(eq=False)
class Row:
    """A key of the service."""

    id: int
    value: str
    name: str
    created: float
    foreign: bool = False
    hwids: list[str] = attrs.field(factory=list[str])
    invalidated: bool = False
    deleted: bool = False
    states: list[tuple[float, bool]] = attrs.field(factory=lambda: [(0.0, False)])
    """When ``invalidated`` was set to what, on the loop's clock."""


@attrs.define(eq=False)
class Limiter:
    """A token bucket, as the service has it for each API key.

    Attributes:
        retry_after: What a 429 has as ``Retry-After``; None for the seconds until there is a token.
        states: Whether responses state the limit in headers.
        lies: The probability that they state that nothing remains for a year.
    """

    rate: float
    burst: float
    retry_after: str | None = None
    states: bool = False
    lies: float = 0.0
    tokens: float = attrs.field(init=False)
    filled_at: float = 0.0
    admitted: list[float] = attrs.field(factory=list[float])
    refused: list[float] = attrs.field(factory=list[float])

    def __attrs_post_init__(self) -> None:
        self.tokens = self.burst

    def admit(self, now: float) -> bool:
        """Take a token, if there is one."""
        self.tokens = min(self.burst, self.tokens + (now - self.filled_at) * self.rate)
        self.filled_at = now
        is_admitted = self.tokens >= 1 - 1e-9
        self.tokens -= is_admitted
        (self.admitted if is_admitted else self.refused).append(now)
        return is_admitted

    def make_headers(self, dice: Random, *, refuses: bool) -> dict[str, str]:
        """Make the headers that state the limit."""
        headers = {}
        if refuses and self.retry_after != "":
            seconds = max(1, math.ceil((1 - self.tokens) / self.rate))
            headers["Retry-After"] = self.retry_after or str(seconds)
        if self.lies and dice.random() < self.lies:
            headers |= {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "31536000"}
        elif self.states:
            headers["X-RateLimit-Limit"] = f"{self.burst:.0f}"
            headers["X-RateLimit-Remaining"] = f"{max(0.0, self.tokens):.0f}"
            headers["X-RateLimit-Reset"] = str(math.ceil((self.burst - self.tokens) / self.rate))
        return headers


@attrs.frozen
class Faults:
    """Probabilities, for each request, of what the service does wrong.

    Attributes:
        create: A creation is late, partly done, done twice, or done and answered wrongly.
        error: A 5xx before the request is executed.
        error_after: A 5xx after it was executed.
        lie: How totals are misstated: one of `LIES`, or None.
        kinds: Those of ``create``.
    """

    create: float = 0.0
    error: float = 0.0
    error_after: float = 0.0
    lie: str | None = None
    kinds: tuple[str, ...] = (
        "late", "part", "rest late", "twice", "fewer", "repeated", "swapped", "foreign", "error",
        "not JSON", "cut", "over-long", "duplicated",
    )  # fmt: skip


LIES: Final[dict[str, Callable[[dict[str, int], int], dict[str, int]]]] = {
    "zero": lambda stated, rows: stated | {"total": 0, "totalPages": 0},
    "of the page": lambda stated, rows: stated | {"total": rows, "totalPages": 1},
    "capped": lambda stated, rows: stated | {"total": min(200, stated["total"])},
    "no pages": lambda stated, rows: stated | {"totalPages": 0},
    "rounded down": lambda stated, rows: (
        stated | {"totalPages": stated["total"] // stated["limit"]}
    ),
    "nothing": lambda stated, rows: {},
}
"""What a page states, made of the truth and the number of its keys."""


class Service:
    """The keys, and what requests do with them.

    Attributes:
        rows: All existing keys by ID, and ``ever``: all that have ever existed.
        named: How many keys were created with a name.
        requests: How often each operation was executed.
        acts: How often each operation was executed on a key, by its name and the key's ID.
        violations: What a client should never have done.
        order: That of the list, one of `ORDERS`.
        down: While true, every request is answered 503 and not executed.
        most_deleted: How many keys a deletion may have; those of more are answered 413.
    """

    def __init__(
        self,
        loop: SimulatedLoop,
        dice: Random,
        *,
        faults: Faults = Faults(),
        limiter: Limiter | None = None,
    ) -> None:
        self.loop, self.dice = loop, dice
        self.faults, self.limiter = faults, limiter
        self.order = ORDERS[0]
        self.rows: dict[int, Row] = {}
        self.ever: dict[str, Row] = {}
        self.named: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.used_faults: Counter[str] = Counter()
        self.acts: Counter[tuple[str, int]] = Counter()
        self.violations: list[str] = []
        self.down = False
        self.most_deleted = 1000
        self._given: list[dict[str, Any]] = []
        self._swapped: dict[str, Any] | None = None
        self._last_id = 0

    def now(self) -> float:
        """Return the service's clock, in Unix time."""
        return EPOCH + self.loop.time()

    # What the world does.

    def make(self, amount: int, name: str = "", *, foreign: bool = False) -> list[Row]:
        """Create keys, with gaps between their IDs, as other customers create some too."""
        rows = []
        self.named[name] += amount
        for _ in range(amount):
            self._last_id += self.dice.randint(1, 3)
            value = f"JNK-{self.dice.getrandbits(48):012x}-{self._last_id}"
            row = Row(self._last_id, value, name, self.now(), foreign)
            self.rows[row.id] = self.ever[value] = row
            rows.append(row)
        return rows

    def delete(self, row: Row) -> None:
        """Delete a key."""
        row.deleted = True
        self.rows.pop(row.id, None)

    def set_invalidated(self, row: Row, invalidated: bool) -> None:
        """Revoke a key, or revalidate it."""
        row.invalidated = invalidated
        row.states.append((self.loop.time(), invalidated))

    def own_values(self) -> list[str]:
        """Return the values of existing keys that no foreign program has created."""
        return [row.value for row in self.rows.values() if not row.foreign]

    # What requests do.

    def handle(self, method: str, target: str, body: bytes | None) -> Reply:
        """Execute a request, and answer it."""
        url = urlsplit(target)
        stated: dict[str, str] = {}
        if self.limiter is not None:
            is_admitted = self.limiter.admit(self.loop.time())
            stated = self.limiter.make_headers(self.dice, refuses=not is_admitted)
            if not is_admitted:
                return self._reply(429, {"error": "Too many requests"}, stated)
        if self.down or self.dice.random() < self.faults.error:
            return self._reply(503, {"error": "Unavailable"})
        self.requests[f"{method} {_template(url.path)}"] += 1
        given = json.loads(body) if body else {}
        reply = self._execute(method, url.path, parse_qs(url.query), given)
        if self.dice.random() < self.faults.error_after:
            return self._reply(500, {"error": "Internal server error"})
        status, headers, content = reply
        return status, headers | stated, content

    def _execute(
        self, method: str, path: str, query: Mapping[str, list[str]], given: dict[str, Any]
    ) -> Reply:
        match method, path.split("/")[1:]:
            case "GET", ["keys"]:
                return self._list(query)
            case "POST", ["keys"]:
                return self._create(1, given, lambda rows, _: {"key": self._show(rows[0])})
            case "POST", ["keys", "batch"]:
                return self._create(given["amount"], given, _show_batch)
            case "POST", ["keys", "bulk-delete"]:
                return self._bulk_delete(given["keys"])
            case "GET", ["keys", "folders"]:
                return self._reply(200, {"folders": []})
            case _, ["keys", reference, *rest]:
                return self._act_on(method, unquote(reference), rest, given)
        raise AssertionError(f"{method} {path}")

    def _act_on(self, method: str, reference: str, rest: list[str], given: dict[str, Any]) -> Reply:
        row = next((row for row in self.rows.values() if row.value == reference), None)
        if row is None and reference.isdigit():
            row = self.rows.get(int(reference))
        if row is None:
            return self._reply(404, {"error": "Key not found"})
        if method == "GET":
            return self._reply(200, {"key": self._show(row)})
        self.acts[" ".join((method, *rest)), row.id] += 1
        if method == "DELETE":
            self.delete(row)
            return self._reply(200, None)
        if rest == ["reset-hwid"]:
            row.hwids.clear()
            return self._reply(200, {"success": True, "message": "HWID reset"})
        row.name = given.get("key_name", row.name)
        row.hwids = given.get("hwids", row.hwids)
        self.set_invalidated(row, given.get("is_invalidated", row.invalidated))
        return self._reply(200, {"success": True, "message": "updated", "keys_hwid": row.hwids})

    def _list(self, query: Mapping[str, list[str]]) -> Reply:
        page, limit = int(query["page"][0]), int(query["limit"][0])
        rows = [row for row in self.rows.values() if _matches(row, query)]
        rows.sort(
            key=lambda row: row.value if self.order == "by value" else row.id,
            reverse=self.order == "newest first",
        )
        shown = rows[(page - 1) * limit : page * limit]
        pages = -(-len(rows) // limit)
        stated = {"page": page, "limit": limit, "total": len(rows), "totalPages": pages}
        if self.faults.lie is not None:
            stated = LIES[self.faults.lie](stated, len(shown))
        return self._reply(200, {"keys": [self._show(row) for row in shown], "pagination": stated})

    def _bulk_delete(self, ids: list[Any]) -> Reply:
        if len(ids) > self.most_deleted:
            return self._reply(413, {"error": "Payload too large"})
        found = [row for row in self.rows.values() if row.id in ids or row.value in ids]
        for row in found:
            self.acts["bulk-delete", row.id] += 1
            self.delete(row)
        return self._reply(200, {"deleted": len(found), "requested": len(ids)})

    def _create(self, amount: int, given: dict[str, Any], show: _Show) -> Reply:
        """Create keys, or fewer, later, twice; and answer with them, or with something else."""
        name = given.get("key_name") or ""
        fault = "none"
        if self.dice.random() < self.faults.create:
            fault = self.dice.choice(self.faults.kinds)
        self.used_faults[fault] += 1
        now = amount
        if fault in ("late", "part", "rest late"):
            now = 0 if fault == "late" else self.dice.randrange(amount)
            if fault != "part":
                later = amount - now
                self.loop.add_event(self.dice.uniform(*LATE), lambda: self.make(later, name))
        rows = self.make(now + 5 * (fault == "over-long" and amount > 1), name)
        if fault == "twice":
            self.make(amount, name)
        # A call that is answered well is believed: keys that came twice are nobody's then.
        if fault in ("late", "error", "twice") or not rows:
            return self._reply(504, {"error": "Gateway timeout"})
        if fault == "not JSON":
            return 200, self._headers({"Content-Type": "text/html"}), b"<html>Welcome</html>"
        if fault == "foreign":
            given = given | {"key_name": "launch jk-000000000000.0"}
            rows = self.make(amount, given["key_name"], foreign=True)
        if fault == "fewer" and amount > 1:
            rows = rows[: self.dice.randrange(1, amount)]
        if fault == "duplicated" and amount > 1:
            rows = [*rows[1:], rows[-1]]
        answer = show(rows, given)
        if fault == "repeated" and self._given:
            answer = self.dice.choice(self._given)
        elif fault == "swapped":
            answer, self._swapped = self._swapped or answer, answer
        self._given.append(answer)
        status, headers, body = self._reply(201, answer)
        return status, headers, body[: len(body) // 2] if fault == "cut" else body

    def _show(self, row: Row) -> dict[str, Any]:
        return {
            "id": row.id,
            "key_value": row.value,
            "key_name": row.name,
            "provider_id": PROVIDER,
            "is_invalidated": row.invalidated,
            "created_at": datetime.fromtimestamp(row.created, UTC).isoformat(),
            "keys_hwid": row.hwids,
        }

    def _reply(self, status: int, document: Any, headers: Mapping[str, str] | None = None) -> Reply:
        body = b"" if document is None else json.dumps(document).encode()
        return status, self._headers({"Content-Type": "application/json", **(headers or {})}), body

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        date = format_datetime(datetime.fromtimestamp(int(self.now()), UTC), usegmt=True)
        return {"Date": date, **headers}


def _show_batch(rows: list[Row], given: dict[str, Any]) -> dict[str, Any]:
    config = {"provider_id": given["provider_id"], "key_name": given.get("key_name")}
    return {"keys": [row.value for row in rows], "count": len(rows), "config": config}


def _matches(row: Row, query: Mapping[str, list[str]]) -> bool:
    if "key" in query and query["key"][0] not in row.value:
        return False
    return query.get("provider_id", [str(PROVIDER)]) == [str(PROVIDER)]


def _template(path: str) -> str:
    parts = path.split("/")
    if len(parts) > 2 and parts[2] not in ("batch", "bulk-delete", "folders"):
        parts[2] = "{keyId}"
    return "/".join(parts)
