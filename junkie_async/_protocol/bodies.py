"""The shapes of responses' bodies, and refusals in a 2xx."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

import attrs
import msgspec

import junkie_async._models as models

from .._models import Key, KeyDetailed
from .json_documents import decode_document
from .key_rows import KeyRow
from .lenient import is_object

_ABSENT: Final = msgspec.Raw()
_LONGEST_STATEMENT: Final = 64  # bytes


class RefusedError(Exception):
    """A body that says of a 2xx that the request was refused, or that there is no such key.

    ``document`` is the whole body, unless only what it states was decoded.
    """

    def __init__(
        self, *, document: Any = None, no_key: bool = False, not_executed: bool = True
    ) -> None:
        self.document = document
        self.no_key = no_key
        self.not_executed = not_executed


@attrs.frozen(kw_only=True, repr=False, slots=False)
class Body:
    """What every body may have beside its content: whether the request was refused.

    These may be anything, and are decoded in `check_body`, if they are there.
    """

    success: msgspec.Raw = attrs.field(default=_ABSENT, eq=False)
    ok: msgspec.Raw = attrs.field(default=_ABSENT, eq=False)
    error: msgspec.Raw = attrs.field(default=_ABSENT, eq=False)


@attrs.frozen(repr=False)
class PaginationBody:
    """What a page states of its list."""

    page: int | None = None
    limit: int | None = None
    total: int | None = None
    totalPages: int | None = None  # noqa: N815 - the contract's spelling


@attrs.frozen(kw_only=True, repr=False, slots=False)
class PageBody(Body):
    """``GET /keys``."""

    keys: tuple[Key, ...]
    pagination: PaginationBody | None = None


@attrs.frozen(kw_only=True, repr=False, slots=False)
class PageRows(Body):
    """A `PageBody` as msgspec decodes it."""

    keys: tuple[KeyRow, ...]
    pagination: PaginationBody | None = None


@attrs.frozen(kw_only=True, repr=False, slots=False)
class KeyBody(Body):
    """``POST /keys``."""

    key: Key


@attrs.frozen(kw_only=True, repr=False, slots=False)
class DetailedKeyBody(Body):
    """``GET /keys/{keyId}``."""

    key: KeyDetailed


@attrs.frozen(kw_only=True, repr=False, slots=False)
class FoldersBody(Body):
    """``GET /keys/folders``."""

    folders: list[models.KeyFolder]


@attrs.frozen(kw_only=True, repr=False, slots=False)
class BatchBody(Body):
    """``POST /keys/batch``."""

    keys: tuple[Annotated[str, msgspec.Meta(min_length=1)], ...]  # checked in C
    count: int | None = None
    config: dict[str, Any] | None = None


@attrs.frozen(kw_only=True, repr=False, slots=False)
class BulkDeleteBody(Body):
    """``POST /keys/bulk-delete``."""

    deleted: int
    requested: int | None = None


@attrs.frozen(kw_only=True, repr=False, slots=False)
class ActionBody(Body):
    """What an update or a reset of HWIDs is answered with."""

    message: str = ""
    keys_hwid: tuple[str, ...] = ()


def check_body(body: Body) -> None:
    """Check a body that was read, as `check_refusal` does."""
    if body.success or body.ok or body.error:  # mostly none of them is there
        given = {"success": body.success, "ok": body.ok, "error": body.error}
        stated = {name: _read_statement(bytes(raw)) for name, raw in given.items() if raw}
        # Keys are deleted in spite of a refusal.
        _check_statements({**stated, "deleted": getattr(body, "deleted", None)})


def _read_statement(raw: bytes) -> Any:
    # A long one is neither false nor empty, and need not be decoded: the whole body may have to be.
    return decode_document(raw) if len(raw) <= _LONGEST_STATEMENT else True


def check_refusal(document: Any) -> None:
    """Raise RefusedError if a body says that its request was refused."""
    if is_object(document):
        _check_statements(document, document)


def _check_statements(stated: Mapping[str, Any], document: Any = None) -> None:
    successes = [stated.get("success"), stated.get("ok")]
    if any(success in (False, 0, "false") for success in successes):
        not_executed = stated.get("deleted") in (None, 0, "0")
        raise RefusedError(document=document, not_executed=not_executed)
    if stated.get("error") and not any(successes):
        raise RefusedError(document=document, not_executed=False)
