"""The ID that the service, or the CDN in front of it, has given a request."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .redaction import Redactor, find_secrets
from .requests import Request

_HEADERS: Final = ("X-Request-Id", "CF-Ray")
"""The service's own comes first. Its operators can look that up themselves."""

_MAX_LENGTH: Final = 128
_ID: Final = re.compile(r"[A-Za-z0-9][\w.:/+=@~-]*", re.ASCII)


def read_request_id(
    request: Request[Any], headers: Mapping[str, str], *api_keys: str
) -> str | None:
    """Return the ID in a response's headers, cut to 128 characters.

    None if there is none, if it is no single word of ASCII, or if it repeats a secret.
    """
    for name in _HEADERS:
        value = headers.get(name, "").strip()[:_MAX_LENGTH]
        if _ID.fullmatch(value):
            return None if _repeats_secret(value, [*api_keys, *find_secrets(request)]) else value
    return None


def _repeats_secret(value: str, secrets: Sequence[str]) -> bool:
    # A bulk delete has 1,000 secrets. To prepare the search for all of them takes 3 ms.
    lower = value.lower()
    near = [one for one in secrets if not _is_plain(one[:3]) or one[:3].lower() in lower]
    return bool(near) and Redactor(near)(value, _MAX_LENGTH) != value


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isalnum()
