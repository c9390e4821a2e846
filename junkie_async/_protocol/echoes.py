"""What a response echoes of its request: by that the response of another call is noticed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

ECHO: Final = "config"
"""The field of a batch's response that has the echo."""


def find_other_field(
    echoed: Mapping[str, Any], sent: Mapping[str, Any], marker: str | None
) -> str | None:
    """Return the name of a field that another call had, None if the echo agrees with the request.

    A service may trim a name, collapse its blanks, cut it, or write it in another case. So names
    agree if one begins with the other. Those of a job's calls differ in the ``marker`` at the end.
    """
    if _differs(echoed, sent, "provider_id"):
        return "provider_id"
    if not _differs(echoed, sent, "key_name"):
        return None
    stated, asked = _normalize(echoed["key_name"]), _normalize(sent["key_name"])
    if marker is not None:
        agrees = stated.rpartition(" ")[2] == marker.casefold()
    else:
        agrees = stated.startswith(asked) or asked.startswith(stated)
    return None if agrees else "key_name"


def _differs(echoed: Mapping[str, Any], sent: Mapping[str, Any], name: str) -> bool:
    stated, asked = echoed.get(name), sent.get(name)
    return None not in (stated, asked) and str(stated) != str(asked)


def _normalize(name: object) -> str:
    return " ".join(str(name).casefold().split())
