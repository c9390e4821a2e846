"""The shapes of responses' bodies, and refusals in a 2xx."""

from __future__ import annotations

from typing import Any

import attrs

import junkie_async._models as models

from .._models import Key, KeyDetailed
from .lenient import is_object


class RefusedError(Exception):
    """A body that says of a 2xx that the request was refused, or that there is no such key."""

    def __init__(self, *, no_key: bool = False, not_executed: bool = True) -> None:
        self.no_key = no_key
        self.not_executed = not_executed


@attrs.frozen(kw_only=True, repr=False)
class Body:
    """What every body may have beside its content: whether the request was refused."""

    success: Any = None
    ok: Any = None
    error: Any = None


@attrs.frozen(repr=False)
class PaginationBody:
    """What a page states of its list."""

    page: int | None = None
    limit: int | None = None
    total: int | None = None
    totalPages: int | None = None  # noqa: N815 - the contract's spelling


@attrs.frozen(kw_only=True, repr=False)
class PageBody(Body):
    """``GET /keys``."""

    keys: tuple[Key, ...]
    pagination: PaginationBody | None = None


@attrs.frozen(kw_only=True, repr=False)
class KeyBody(Body):
    """``POST /keys``."""

    key: Key


@attrs.frozen(kw_only=True, repr=False)
class DetailedKeyBody(Body):
    """``GET /keys/{keyId}``."""

    key: KeyDetailed


@attrs.frozen(kw_only=True, repr=False)
class FoldersBody(Body):
    """``GET /keys/folders``."""

    folders: list[models.KeyFolder]


@attrs.frozen(kw_only=True, repr=False)
class BatchBody(Body):
    """``POST /keys/batch``."""

    keys: tuple[str, ...]
    count: int | None = None
    config: dict[str, Any] | None = None


@attrs.frozen(kw_only=True, repr=False)
class BulkDeleteBody(Body):
    """``POST /keys/bulk-delete``."""

    deleted: int
    requested: int | None = None


@attrs.frozen(kw_only=True, repr=False)
class ActionBody(Body):
    """What an update or a reset of HWIDs is answered with."""

    message: str = ""
    keys_hwid: tuple[str, ...] = ()


def check_body(body: Body) -> None:
    """Check a body that was read, as `check_refusal` does."""
    if body.success is not None or body.ok is not None or body.error:  # mostly none of them is
        check_refusal({name: getattr(body, name, None) for name in _STATEMENTS})


_STATEMENTS = ("success", "ok", "error", "deleted")  # the last one is done in spite of a refusal


def check_refusal(document: Any) -> None:
    """Raise RefusedError if a body says that its request was refused."""
    if not is_object(document):
        return
    stated = [document.get("success"), document.get("ok")]
    if any(success in (False, 0, "false") for success in stated):
        raise RefusedError(not_executed=document.get("deleted") in (None, 0, "0"))
    if document.get("error") and not any(stated):
        raise RefusedError(not_executed=False)
