"""HWID bindings as the store keeps them: a JSON array of the contract's HWID objects."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from .timestamps import render


def encode_hwids(
    hwids: Iterable[str | Mapping[str, Any]],
    bound_at: str,
    existing: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Return bindings as JSON text.

    Args:
        hwids: The HWIDs to bind, or HWID objects, whose moments may be aware datetimes. Of two
            with the same HWID the first counts.
        bound_at: The time of new bindings, rendered.
        existing: The bindings so far: a HWID that is bound already keeps its binding.
    """
    known = {binding["hwid"]: binding for binding in existing}
    default = {"executor_user_id": None, "bound_at": bound_at, "bound_by": "api"}
    bindings: dict[str, Mapping[str, Any]] = {}
    for one in hwids:
        given: Mapping[str, Any] = {"hwid": one} if isinstance(one, str) else one
        hwid = given["hwid"]
        binding = known.get(hwid) or {"hwid": hwid, **default, **given}
        bindings.setdefault(hwid, binding)
    return json.dumps([*bindings.values()], ensure_ascii=False, default=_render_moment)


def _render_moment(value: object) -> str:
    assert isinstance(value, datetime), f"a HWID object can't hold {value!r}"
    return render(value)
