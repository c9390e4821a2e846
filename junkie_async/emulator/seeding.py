"""Insert keys by the million: columns from values or callables, indexes rebuilt afterwards."""

# ruff: noqa: S608 - statements are put together from names of this package only

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from typing import Any

from .hwid_bindings import encode_hwids
from .schema import BOOLEANS, INDEXES
from .timestamps import render

_CHUNK = 10_000  # key values made at a time, so that a million rows never lie in memory
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
    """Return the encoder of each column that can be seeded.

    Moments are aware datetimes or None, `hwids` is an iterable of strings or of the contract's HWID
    objects as mappings; the other columns are stored as they are.

    Args:
        now: The default of a HWID's `bound_at`, rendered.
    """
    return {
        **dict.fromkeys(_AS_GIVEN, lambda value: value),
        **dict.fromkeys(BOOLEANS, int),
        **dict.fromkeys(_MOMENTS, lambda moment: moment and render(moment)),
        "created_at": lambda moment: render(moment) if moment else now,
        "hwids": lambda hwids: encode_hwids(hwids, now),
    }


def insert(
    db: sqlite3.Connection,
    amount: int,
    columns: Mapping[str, Any],
    now: str,
    make_values: Callable[[int], list[str]],
) -> range:
    """Insert keys inside the caller's transaction and return their IDs; see `Emulator.seed`."""
    if amount < 0:
        raise ValueError(f"amount must be an integer >= 0, got {amount!r}")
    names, rows = _build_rows(amount, columns, now, make_values)
    sql = f"INSERT INTO keys ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    # The last ID comes from sqlite_sequence: max(id) would give a deleted key's ID again.
    [(last, existing)] = db.execute(
        "SELECT (SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'keys'), count(*) "
        "FROM keys"
    )
    # With more new rows than old ones, building the indexes afterwards is several times faster.
    rebuild = amount > existing
    for name in INDEXES if rebuild else ():
        db.execute(f"DROP INDEX {name}")
    db.executemany(sql, rows)
    for statement in INDEXES.values() if rebuild else ():
        db.execute(statement)
    if "folder_id" in columns:
        db.execute(
            "INSERT OR IGNORE INTO folders SELECT DISTINCT folder_id, 'Folder ' || folder_id, ? "
            "FROM keys WHERE folder_id IS NOT NULL",
            (now,),
        )
    return range(last + 1, last + 1 + amount)


def _build_rows(
    amount: int,
    columns: Mapping[str, Any],
    now: str,
    make_values: Callable[[int], list[str]],
) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    """Return the column names and an iterator over the rows.

    `map`, `repeat` and `zip` keep the loop in C: only the caller's callables run per row.
    """
    encode = encoders(now)
    unknown = sorted(columns.keys() - encode.keys())
    if unknown:
        raise TypeError(f"unknown columns {', '.join(unknown)}: choose from {sorted(encode)}")
    streams: dict[str, Iterator[Any]] = {"key_value": _make_in_chunks(amount, make_values)}
    for name, value in {**_DEFAULTS, **columns}.items():
        if callable(value):
            streams[name] = map(encode[name], map(value, range(amount)))
        else:
            streams[name] = repeat(encode[name](value), amount)
    return list(streams), zip(*streams.values(), strict=True)


def _make_in_chunks(amount: int, make_values: Callable[[int], list[str]]) -> Iterator[str]:
    for start in range(0, amount, _CHUNK):
        yield from make_values(min(_CHUNK, amount - start))
