"""Inserts keys by the million: columns from values or callables, indexes made afterwards."""

# ruff: noqa: S608 - statements are put together from names of this package only

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from itertools import repeat
from typing import Any

from .schema import BOOLEANS, INDEXES
from .timestamps import render

_CHUNK = 10_000
_MOMENTS = ("expires_at", "used_at")
_AS_GIVEN = (
    "key_value",
    "user_id",
    "service_id",
    "provider_id",
    "folder_id",
    "validity_minutes",
    "key_name",
    "hwid_limit",
    "discord_id",
)
_DEFAULTS = {"provider_id": 1, "created_at": None}


def encoders(now: str) -> dict[str, Callable[[Any], Any]]:
    """Return how each column that can be seeded is stored.

    Moments are aware datetimes or None, `hwids` is an iterable of strings or of the contract's HWID
    objects as mappings, the rest is plain.

    Args:
        now: When HWIDs are bound that don't say it, rendered.
    """
    return {
        **dict.fromkeys(_AS_GIVEN, lambda value: value),
        **dict.fromkeys(BOOLEANS, int),
        **dict.fromkeys(_MOMENTS, lambda moment: moment and render(moment)),
        "created_at": lambda moment: render(moment) if moment else now,
        "hwids": lambda hwids: _bindings(hwids, now),
    }


def _bindings(hwids: Iterable[str | Mapping[str, Any]], now: str) -> str:
    default = {"executor_user_id": None, "bound_at": now, "bound_by": "api"}
    bindings: dict[str, dict[str, Any]] = {}
    for one in hwids:
        given: Mapping[str, Any] = {"hwid": one} if isinstance(one, str) else one
        binding = {"hwid": given["hwid"], **default, **given}
        if isinstance(binding["bound_at"], datetime):
            binding["bound_at"] = render(binding["bound_at"])
        bindings.setdefault(binding["hwid"], binding)
    return json.dumps([*bindings.values()])


def insert(
    db: sqlite3.Connection,
    amount: int,
    columns: Mapping[str, Any],
    now: str,
    make_values: Callable[[int], list[str]],
) -> range:
    """Insert keys inside the caller's transaction.

    Args:
        db: The store's connection.
        amount: How many keys.
        columns: Names and values; a callable is asked for each row's value with the row's
            index, from 0.
        now: The time of their creation, rendered.
        make_values: Makes that many key values.

    Returns:
        Their IDs.

    Raises:
        TypeError: A column is unknown.
        ValueError: The amount is negative, or a moment has no offset.
        sqlite3.IntegrityError: A key value is there already.
    """
    if amount < 0:
        raise ValueError(f"a seed of {amount} keys is not possible")
    names, rows = _rows(amount, columns, now, make_values)
    sql = f"INSERT INTO keys ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    [(last, existing)] = db.execute(
        "SELECT (SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'keys'), count(*) "
        "FROM keys"
    )
    # With more new rows than old ones, making the indexes again is several times faster.
    with_rebuild = amount > existing
    for name in INDEXES if with_rebuild else ():
        db.execute(f"DROP INDEX {name}")
    db.executemany(sql, rows)
    for statement in INDEXES.values() if with_rebuild else ():
        db.execute(statement)
    if "folder_id" in columns:
        db.execute(
            "INSERT OR IGNORE INTO folders SELECT DISTINCT folder_id, 'Folder ' || folder_id, ? "
            "FROM keys WHERE folder_id IS NOT NULL",
            (now,),
        )
    return range(last + 1, last + 1 + amount)


def _rows(
    amount: int,
    columns: Mapping[str, Any],
    now: str,
    make_values: Callable[[int], list[str]],
) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """Return the columns' names and the rows, which no Python code but the callables touches."""
    encode = encoders(now)
    unknown = sorted(columns.keys() - encode.keys())
    if unknown:
        raise TypeError(f"keys have no column {', '.join(unknown)}; there are {sorted(encode)}")
    streams: dict[str, Iterator[Any]] = {"key_value": _values(amount, make_values)}
    for name, value in {**_DEFAULTS, **columns}.items():
        if callable(value):
            streams[name] = map(encode[name], map(value, range(amount)))
        else:
            streams[name] = repeat(encode[name](value), amount)
    return list(streams), zip(*streams.values(), strict=True)


def _values(amount: int, make_values: Callable[[int], list[str]]) -> Iterator[str]:
    for start in range(0, amount, _CHUNK):
        yield from make_values(min(_CHUNK, amount - start))
