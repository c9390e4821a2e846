"""A service in memory that holds keys rightly, and lies about its pagination."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs

from junkie_async import Keys, TransportError
from junkie_async._http.send_state import SendState
from junkie_async._http.transport import Response, Transport
from junkie_async._protocol.requests import Request

from .scripted import make_dispatcher

Row = dict[str, Any]
Matches = Callable[[Row], bool]
Slice = Callable[[list[Row], Matches, int, int], list[Row]]
"""Cuts a page, by its number and size, out of all rows; the function says which ones match."""

State = Callable[["Listing"], dict[str, Any] | None]
"""What the service states of a page."""


@attrs.frozen(kw_only=True)
class Listing:
    """What is true of an answer."""

    page: int
    limit: int
    rows: int  # on this page
    total: int
    total_unfiltered: int
    request: int  # its number, from 1
    dice: random.Random

    def state(self, **lies: Any) -> dict[str, Any]:
        """State the truth, apart from some lies; None leaves a field out."""
        truth = {
            "page": self.page,
            "limit": self.limit,
            "total": self.total,
            "totalPages": -(-self.total // self.limit),
        }
        return {name: value for name, value in (truth | lies).items() if value is not None}


def slice_filtered(rows: list[Row], matches: Matches, page: int, limit: int) -> list[Row]:
    """Cut a page as an honest service does."""
    return list(filter(matches, rows))[(page - 1) * limit : page * limit]


@attrs.frozen(kw_only=True)
class Lie:
    """How a service lies. `no_page` makes a 404 of a page beyond the last one."""

    state: State = Listing.state
    slice: Slice = slice_filtered
    no_page: bool = False


class LyingService(Transport):
    """Lists, creates and deletes keys in memory.

    Args:
        lie: How it lies.
        rows: How many keys there are at first; every second one is revoked.
        lost: The numbers of the batch calls, from 1, whose answers are lost.
        newest_first: In which order it lists keys.
    """

    def __init__(
        self, lie: Lie, rows: int = 0, lost: Iterable[int] = (), *, newest_first: bool = False
    ) -> None:
        super().__init__(base_url="http://127.0.0.1", timeout=30.0, session=None)
        self.lie = lie
        self.rows: dict[int, Row] = {}
        self.lists = self.deletes = 0
        self._batches, self._lost = 0, set(lost)
        self._dice = random.Random(1)
        self._newest_first = newest_first
        self._last_id = 0
        for _ in range(rows):
            self._make("", is_invalidated=len(self.rows) % 2 == 1)

    @property
    def keys(self) -> Keys:
        """The operations on this service."""
        return Keys(make_dispatcher(self))

    async def attempt(self, request: Request[Any], state: SendState, left: float) -> Response:
        """Answer a request."""
        if request.method == "GET":
            return self._list(request.target)
        if request.path == "/keys/{keyId}":
            return self._change(request)
        body = json.loads(request.body or b"{}")
        if request.path == "/keys/batch":
            return self._create(body)
        assert request.path == "/keys/bulk-delete"
        self.deletes += 1
        deleted = [self.rows.pop(key) for key in body["keys"] if key in self.rows]
        return _answer({"deleted": len(deleted), "requested": len(body["keys"])})

    def _change(self, request: Request[Any]) -> Response:
        key_id = int(request.target.rpartition("/")[2])
        if request.method == "DELETE":
            del self.rows[key_id]
        else:
            self.rows[key_id] |= json.loads(request.body or b"{}")
        return _answer({"success": True})

    def _create(self, body: dict[str, Any]) -> Response:
        self._batches += 1
        values = [self._make(body.get("key_name", "")) for _ in range(body["amount"])]
        if self._batches in self._lost:
            raise TransportError("lost")
        return _answer({"keys": values, "count": len(values)}, 201)

    def _make(self, name: str, **fields: Any) -> str:
        self._last_id = key_id = self._last_id + 1
        row: Row = {"id": key_id, "key_value": f"JNK-{key_id}", "key_name": name}
        self.rows[key_id] = row | {"provider_id": 1, "is_invalidated": False} | fields
        return f"JNK-{key_id}"

    def _list(self, target: str) -> Response:
        self.lists += 1
        query = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        page, limit, status = int(query["page"]), int(query["limit"]), query.get("status")

        def matches(row: Row) -> bool:
            return status is None or row["is_invalidated"] == (status == "invalidated")

        rows = list(self.rows.values())[:: -1 if self._newest_first else 1]
        shown = self.lie.slice(rows, matches, page, limit)
        if self.lie.no_page and page > 1 and not shown:
            return 404, {}, b'{"error": "Invalid page"}'
        listing = Listing(
            page=page,
            limit=limit,
            rows=len(shown),
            total=sum(map(matches, rows)),
            total_unfiltered=len(rows),
            request=self.lists,
            dice=self._dice,
        )
        return _answer({"keys": shown, "pagination": self.lie.state(listing)})


def _answer(document: object, status: int = 200) -> Response:
    return status, {}, json.dumps(document).encode()
