"""What tells that a response is that of another call."""

from __future__ import annotations

from typing import Any

import pytest

from junkie_async._protocol.echoes import find_other_field

_SENT = {"provider_id": 7, "key_name": "Launch  day jk-k3v9.1f"}


@pytest.mark.parametrize(
    ("echoed", "found"),
    [
        ({}, None),
        ({"provider_id": None, "key_name": None}, None),
        ({"provider_id": "7", "key_name": "launch day JK-K3V9.1F"}, None),
        ({"provider_id": 8, "key_name": "Launch day jk-k3v9.1f"}, "provider_id"),
        ({"provider_id": 7, "key_name": "Launch day jk-k3v9.1"}, "key_name"),
        ({"provider_id": 7, "key_name": "Launch day jk-k3v9.1f0"}, "key_name"),
        ({"provider_id": 7, "key_name": "Launch day jk-k3v9.1e"}, "key_name"),
    ],
)
def test_an_echo_of_a_marked_call(echoed: dict[str, Any], found: str | None) -> None:
    """The marker decides: calls of one job differ in nothing else."""
    assert find_other_field(echoed, _SENT, "jk-k3v9.1f") == found


@pytest.mark.parametrize(("name", "found"), [("launch", None), ("lunch day", "key_name")])
def test_an_echo_of_a_call_without_a_marker(name: str, found: str | None) -> None:
    """A name may be cut."""
    assert find_other_field({"key_name": name}, {"key_name": "Launch day"}, None) == found
