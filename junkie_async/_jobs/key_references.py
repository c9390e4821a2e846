"""Checks of the keys that a job is given: a collection before anything is sent, and each one."""

from __future__ import annotations

from collections.abc import AsyncIterable, Collection, Iterable
from typing import Any

from .._validation import MAX_INTEGER, check_iterable, check_reference


def check_keys(keys: Iterable[Any] | AsyncIterable[Any]) -> None:
    """Check a whole collection before anything is sent; an iterator is checked as it is read."""
    check_source(keys, "IDs, key values or Keys")
    if isinstance(keys, Collection) and not are_valid_ids(keys):
        for index, key in enumerate(keys):
            check_key(index, key)


def check_source(keys: Iterable[Any] | AsyncIterable[Any], content: str) -> None:
    """Check that keys come in an iterable, which one key value is not meant as."""
    if not isinstance(keys, AsyncIterable):
        check_iterable("keys", keys, f"an iterable or async iterable of {content}")


def are_valid_ids(keys: Collection[Any]) -> bool:
    """Whether all are plain ints within the limits of an ID."""
    # The largest jobs are lists of IDs. Three loops in C check a million in 0.03 s.
    return set(map(type, keys)) == {int} and min(keys) > 0 and max(keys) <= MAX_INTEGER


def check_key(index: int, key: object) -> int | str:
    """Check one key reference, whose name is ``keys[index]``."""
    # Of a million references most are IDs: no name is formatted, and no function called for them.
    if type(key) is int and 0 < key <= MAX_INTEGER:
        return key
    return check_reference(f"keys[{index}]", key)
