"""Insert keys by the million: columns from values or callables, indexes rebuilt afterwards."""

# ruff: noqa: S608 - statements are put together from names of this package only

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from itertools import repeat
from typing import Any

from .column_values import encode_hwids, make_key_values, render_time
from .schema import BOOLEANS, PLAIN_FIELDS

_CHUNK = 10_000  # key values made at a time, so that a million rows never lie in memory
_INDEXES = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
_DEFAULTS = {"provider_id": 1, "created_at": None}


def _make_encoders(now: str) -> dict[str, Callable[[Any], Any]]:
    return {
        **dict.fromkeys(PLAIN_FIELDS[1:], lambda value: value),  # the first one is the ID
        **dict.fromkeys(BOOLEANS, int),
        **dict.fromkeys(("expires_at", "used_at"), lambda moment: moment and render_time(moment)),
        "created_at": lambda moment: render_time(moment) if moment else now,
        "hwids": lambda hwids: encode_hwids(hwids, now),
    }


def insert_keys(db: sqlite3.Connection, amount: int, columns: Mapping[str, Any], now: str) -> range:
    """Insert keys inside the caller's transaction and return their IDs; see `Emulator.seed`."""
    if amount < 0:
        raise ValueError(f"amount must be an integer >= 0, got {amount!r}")
    names, rows = _build_rows(amount, columns, now)
    sql = f"INSERT INTO keys ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    # The last ID comes from sqlite_sequence: max(id) would give a deleted key's ID again.
    [(last, existing)] = db.execute(
        "SELECT (SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'keys'), count(*) "
        "FROM keys"
    )
    # With more new rows than old ones, building the indexes afterwards is several times faster.
    rebuilt = db.execute(_INDEXES).fetchall() if amount > existing else []
    for name, _ in rebuilt:
        db.execute(f"DROP INDEX {name}")
    db.executemany(sql, rows)
    for _, statement in rebuilt:
        db.execute(statement)
    if "folder_id" in columns:
        db.execute(
            "INSERT OR IGNORE INTO folders SELECT DISTINCT folder_id, 'Folder ' || folder_id, ? "
            "FROM keys WHERE folder_id IS NOT NULL",
            (now,),
        )
    return range(last + 1, last + 1 + amount)


def _build_rows(
    amount: int, columns: Mapping[str, Any], now: str
) -> tuple[list[str], Iterator[tuple[Any, ...]]]:
    # `map`, `repeat` and `zip` keep the loop in C: only the caller's callables run per row.
    encode = _make_encoders(now)
    unknown = sorted(columns.keys() - encode.keys())
    if unknown:
        raise TypeError(f"unknown columns {', '.join(unknown)}: choose from {sorted(encode)}")
    streams: dict[str, Iterator[Any]] = {"key_value": _generate_key_values(amount)}
    for name, value in {**_DEFAULTS, **columns}.items():
        if callable(value):
            streams[name] = map(encode[name], map(value, range(amount)))
        else:
            streams[name] = repeat(encode[name](value), amount)
    return list(streams), zip(*streams.values(), strict=True)


def _generate_key_values(amount: int) -> Iterator[str]:
    for start in range(0, amount, _CHUNK):
        yield from make_key_values(min(_CHUNK, amount - start))
