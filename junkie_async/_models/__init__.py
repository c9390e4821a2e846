"""Models: the frozen attrs classes that callers get.

msgspec reads JSON by these classes, so a field's annotation is its JSON type. Of a key only ``id``
and ``key_value`` are required: the contract declares no response field as required, and a field
that the service leaves out must not make a whole page unreadable. Each field's docs are a string
below it, which editors show.
"""

# No file here has `from __future__ import annotations`: msgspec, cattrs and pydantic read the
# annotations at run time, and the classes appear as `junkie_async.…`, where strings could not be
# resolved.

from .api_response import APIResponse
from .base import Model
from .key import (
    HWID,
    UNSET,
    DiscordRedemption,
    Identifier,
    Key,
    KeyDetailed,
    KeyFolder,
    KeyRef,
    KeyStatus,
    KeyValue,
    Unset,
)
from .results import (
    ActionResult,
    BulkDeleteResult,
    CreateReport,
    DeleteReport,
    KeyBatch,
    KeyPage,
    Pagination,
    UpdateResult,
)

__all__ = [
    "HWID",
    "UNSET",
    "APIResponse",
    "ActionResult",
    "BulkDeleteResult",
    "CreateReport",
    "DeleteReport",
    "DiscordRedemption",
    "Identifier",
    "Key",
    "KeyBatch",
    "KeyDetailed",
    "KeyFolder",
    "KeyPage",
    "KeyRef",
    "KeyStatus",
    "KeyValue",
    "Model",
    "Pagination",
    "Unset",
    "UpdateResult",
]
