"""The emulator's storage: keys and folders in SQLite. No HTTP, no event loop."""

# ruff: noqa: S608 - statements are put together from names of this package only

import json
import os
import sqlite3
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from . import schema, seeding
from .column_values import encode_hwids, make_key_values, parse_time, render_expiry, render_time
from .listing import Listings

_utc_now = partial(datetime.now, UTC)
KeyRef = int | str  # a number is an ID, a string is a key value, even if it is all digits


class Store:
    """Keys and folders. Open, use and close it in one thread.

    Args:
        db: A file, or ``":memory:"``. A missing file is created, and only its owner may read it.
            Only one store can have a file open.
        newest_first: The order of listings: by descending ID, else ascending.
        clock: Returns the current time in UTC.
    """

    def __init__(
        self,
        db: str = ":memory:",
        *,
        newest_first: bool = True,
        clock: Callable[[], datetime] = _utc_now,
    ) -> None:
        self._clock = clock
        self._files = [] if db in ("", ":memory:") else [Path(db), Path(f"{db}-wal")]
        if self._files:
            with suppress(OSError):  # it exists, or SQLite will say why there can't be one
                os.close(os.open(db, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        # No timeout: another store holds its lock for as long as it is open.
        self._db = sqlite3.connect(db, timeout=0, isolation_level=None, cached_statements=256)
        self._listings = Listings(self._db, newest_first=newest_first)
        try:
            self._open_database()
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the database; closing twice does nothing."""
        self._db.close()

    def count(self) -> int:
        """Return the number of keys."""
        return self._listings.get({}, self._render_now()).total

    def page(self, filters: Mapping[str, Any], page: int, limit: int) -> tuple[list[str], int]:
        """Return the JSON of each key on a page (from 1), and the number of keys on all pages.

        The filters are the contract's; timestamps are as the client sent them.
        """
        values = dict(filters)
        # Stored times are cut to milliseconds. "Before 1.2 ms" must include 1 ms, so it is rounded
        # up; "after 0.9 ms" must include 1 ms, so it is cut.
        for name, microseconds in ("expires_before", 999), ("expires_after", 0):
            if name in values:
                values[name] = render_time(parse_time(values[name]), microseconds=microseconds)
        listing = self._listings.get(values, self._render_now())
        return listing.page((page - 1) * limit, limit), listing.total

    def get(self, ref: KeyRef) -> str | None:
        """Return a key's detailed JSON, or None if there is no such key."""
        row = self._select_key(ref, schema.KEY_DETAILED_JSON).fetchone()
        return row and str(row[0])

    def create(self, fields: Mapping[str, Any]) -> str:
        """Create a key from validated fields and return its JSON."""
        [value] = self.create_batch(fields, 1)
        [(created,)] = self._select_key(value, schema.KEY_JSON)
        return str(created)

    def create_batch(self, fields: Mapping[str, Any], amount: int) -> list[str]:
        """Create keys that differ only in their key values, all or none; return these values."""
        columns = self._new_columns(fields)
        names = ", ".join(["key_value", *columns])
        marks = ", ".join("?" * (len(columns) + 1))
        values = make_key_values(amount)
        sql = f"INSERT INTO keys ({names}) VALUES ({marks})"
        with self._write_transaction():
            self._ensure_folder(columns.get("folder_id"))
            self._db.executemany(sql, ((value, *columns.values()) for value in values))
            [(last,)] = self._db.execute("SELECT last_insert_rowid()")
            self._listings.update(range(last - amount + 1, last + 1), step=1)
        self._listings.longest = max(self._listings.longest, len(values[0]))
        return values

    def update(self, ref: KeyRef, fields: Mapping[str, Any]) -> list[str] | None:
        """Change the given fields of a key; None clears a field.

        Returns:
            The HWIDs bound afterwards, or None if there is no such key.
        """
        before = self._fetch_row(ref)
        if before is None:
            return None
        changes = self._changed_columns(before, fields)
        if changes:
            self._apply_changes(before["id"], changes)
        bindings = json.loads(changes.get("hwids", before["hwids"]))
        return [binding["hwid"] for binding in bindings]

    def bulk_delete(self, refs: Sequence[KeyRef]) -> int:
        """Delete keys in one transaction; return how many distinct keys were found."""
        ids_given = [ref for ref in refs if isinstance(ref, int)]
        values_given = [ref for ref in refs if isinstance(ref, str)]
        with self._write_transaction():
            found = self._db.execute(
                "SELECT id FROM keys WHERE id IN (SELECT value FROM json_each(?)) UNION "
                "SELECT id FROM keys WHERE key_value IN (SELECT value FROM json_each(?))",
                (json.dumps(ids_given), json.dumps(values_given)),
            )
            ids = sorted(row[0] for row in found)
            self._listings.update(ids, step=-1)
            sql = "DELETE FROM keys WHERE id IN (SELECT value FROM json_each(?))"
            self._db.execute(sql, (json.dumps(ids),))
        return len(ids)

    def mark_used(self, ref: KeyRef, at: datetime | None = None) -> bool:
        """Record a key's first use, and return whether the key exists; see `Emulator.mark_used`."""
        row = self._fetch_row(ref)
        if row is None:
            return False
        if row["used_at"] is None:
            moment = at or self._clock()
            changes = {"used_at": render_time(moment)}
            if row["expiry_on_first_use"] and row["validity_minutes"]:
                changes["expires_at"] = render_expiry(moment, row["validity_minutes"])
            self._apply_changes(row["id"], changes)
        return True

    def folders(self) -> list[dict[str, Any]]:
        """Return every folder, in the contract's form."""
        rows = self._db.execute("SELECT id, name, created_at FROM folders ORDER BY id")
        return [{"id": row[0], "name": row[1], "created_at": row[2]} for row in rows]

    def add_folder(
        self, name: str, folder_id: int | None = None, created_at: datetime | None = None
    ) -> int:
        """Create a folder and return its ID; see `Emulator.add_folder`."""
        sql = "INSERT INTO folders (id, name, created_at) VALUES (?, ?, ?)"
        created = render_time(created_at) if created_at else self._render_now()
        new_id = self._db.execute(sql, (folder_id, name, created)).lastrowid
        assert new_id is not None
        return new_id

    def seed(self, amount: int, columns: Mapping[str, Any]) -> range:
        """Insert many keys and return their IDs; see `Emulator.seed`."""
        with self._write_transaction():
            ids = seeding.insert_keys(self._db, amount, columns, self._render_now())
            self._listings.recount()
        self._measure_longest(ids.start)
        return ids

    def _open_database(self) -> None:
        # Exclusive: the cached listings would not see another process' writes.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        is_new = self._is_new()  # before what would modify another program's file
        for file in self._files:
            with suppress(FileNotFoundError, PermissionError):  # it may be a colleague's
                file.chmod(0o600)
        self._db.execute("PRAGMA journal_mode = WAL")
        # In WAL mode, NORMAL survives a killed process; only a power cut can lose the last writes.
        self._db.execute("PRAGMA synchronous = NORMAL")
        with self._write_transaction():
            for statement in schema.SCHEMA.split(";") if is_new else ():
                self._db.execute(statement)
        self._measure_longest(0)

    def _is_new(self) -> bool:
        [(application_id,)] = self._db.execute("PRAGMA application_id")
        [(version,)] = self._db.execute("PRAGMA user_version")
        if self._db.execute("SELECT 1 FROM sqlite_master").fetchone() is None:
            return True
        if (application_id, version) != (schema.APPLICATION_ID, schema.SCHEMA_VERSION):
            raise ValueError("db is not a database of this version of the emulator")
        return False

    def _measure_longest(self, first_id: int) -> None:
        # In bytes: length() of a text stops at the first NUL character.
        sql = "SELECT ifnull(max(length(CAST(key_value AS BLOB))), 0) FROM keys WHERE id >= ?"
        [(longest,)] = self._db.execute(sql, (first_id,))
        self._listings.longest = max(self._listings.longest, longest)

    @contextmanager
    def _write_transaction(self) -> Generator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._listings.clear()  # they may have been updated for rows that are now rolled back
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _render_now(self) -> str:
        return render_time(self._clock())

    def _select_key(self, ref: KeyRef, columns: str) -> sqlite3.Cursor:
        name = "id" if isinstance(ref, int) else "key_value"
        return self._db.execute(f"SELECT {columns} FROM keys WHERE {name} = ?", (ref,))

    def _fetch_row(self, ref: KeyRef) -> dict[str, Any] | None:
        cursor = self._select_key(ref, "*")
        row = cursor.fetchone()
        return row and dict(zip((column[0] for column in cursor.description), row, strict=True))

    def _ensure_folder(self, folder_id: int | None) -> None:
        if folder_id is not None:
            self._db.execute(
                "INSERT OR IGNORE INTO folders VALUES (:id, 'Folder ' || :id, :now)",
                {"id": folder_id, "now": self._render_now()},
            )

    def _new_columns(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        columns = dict(fields)
        now = self._clock()
        hwids = [columns.pop("hwid", None), *columns.pop("hwids", [])]
        columns["created_at"] = render_time(now)
        columns["hwids"] = encode_hwids([one for one in hwids if one is not None], render_time(now))
        if columns.get("validity_minutes") and not columns.get("expiry_on_first_use"):
            columns["expires_at"] = render_expiry(now, columns["validity_minutes"])
        return columns

    def _changed_columns(
        self, before: Mapping[str, Any], fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        changes = dict(fields)
        if changes.get("expires_at"):
            changes["expires_at"] = render_time(parse_time(changes["expires_at"]))
        elif "expires_at" not in changes and "validity_minutes" in changes:  # a given expiry wins
            changes |= self._new_expiry({**before, **changes}, before["validity_minutes"])
        if "hwids" in changes:
            known = json.loads(before["hwids"])
            changes["hwids"] = encode_hwids(changes["hwids"], self._render_now(), known)
        return changes

    def _new_expiry(self, after: Mapping[str, Any], validity_before: int | None) -> dict[str, Any]:
        validity = after["validity_minutes"]
        start = after["used_at"] if after["expiry_on_first_use"] else after["created_at"]
        if validity == validity_before or start is None:
            return {}
        return {"expires_at": render_expiry(parse_time(start), validity) if validity else None}

    def _apply_changes(self, key_id: int, changes: Mapping[str, Any]) -> None:
        assignments = ", ".join(f"{name} = ?" for name in changes)
        sql = f"UPDATE keys SET {assignments} WHERE id = ?"
        with self._write_transaction():
            self._ensure_folder(changes.get("folder_id"))
            self._listings.update([key_id], step=-1)
            self._db.execute(sql, (*changes.values(), key_id))
            self._listings.update([key_id], step=1)
