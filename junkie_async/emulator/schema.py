"""Tables and indexes of the store, and the SQL expressions that render a row as JSON."""

# "JNKE": distinguishes an emulator's file from any other SQLite database.
APPLICATION_ID = 0x4A4E4B45
SCHEMA_VERSION = 1

BOOLEANS = ("is_premium", "is_invalidated", "one_time_use", "expiry_on_first_use", "no_hwid")
# The columns with an equality filter; each has an index and counters.
EXACT_FILTERS = ("provider_id", "service_id", "folder_id", "discord_id")
FILTERS = (*EXACT_FILTERS, "key", "hwid", "status", "expires_before", "expires_after")

# `hwids` is a JSON array of the contract's HWID objects: they are only read with their key, and a
# table of their own would add a join per row. AUTOINCREMENT never reuses a deleted key's ID.
# keys_status covers the count of any status, and finds the next moment at which a status changes.
# The last indexes are partial because their columns can be null, and no filter asks for nulls.
SCHEMA = f"""
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE folders (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, created_at TEXT NOT NULL
);
CREATE TABLE keys (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  key_value TEXT NOT NULL,
  user_id INTEGER NOT NULL DEFAULT 1,
  service_id INTEGER,
  provider_id INTEGER NOT NULL,
  folder_id INTEGER,
  expires_at TEXT,
  used_at TEXT,
  is_premium INTEGER NOT NULL DEFAULT 0,
  is_invalidated INTEGER NOT NULL DEFAULT 0,
  one_time_use INTEGER NOT NULL DEFAULT 0,
  expiry_on_first_use INTEGER NOT NULL DEFAULT 0,
  validity_minutes INTEGER,
  no_hwid INTEGER NOT NULL DEFAULT 0,
  key_name TEXT,
  hwid_limit INTEGER,
  discord_id TEXT,
  created_at TEXT NOT NULL,
  hwids TEXT NOT NULL DEFAULT '[]'
);
CREATE TABLE counts (
  field TEXT, value, n INTEGER NOT NULL, PRIMARY KEY (field, value)
) WITHOUT ROWID;
CREATE UNIQUE INDEX keys_value ON keys (key_value);
CREATE INDEX keys_status ON keys (expires_at, is_invalidated, used_at);
CREATE INDEX keys_bound ON keys (id) WHERE hwids <> '[]';
CREATE INDEX keys_provider_id ON keys (provider_id);
CREATE INDEX keys_service_id ON keys (service_id) WHERE service_id IS NOT NULL;
CREATE INDEX keys_folder_id ON keys (folder_id) WHERE folder_id IS NOT NULL;
CREATE INDEX keys_discord_id ON keys (discord_id) WHERE discord_id IS NOT NULL;
"""

# A FROM clause: the keys of a JSON array of IDs, ":ids". CROSS JOIN fixes the join order, so that
# SQLite looks up each ID instead of using the index of another condition.
GIVEN_IDS = "(SELECT value AS given FROM json_each(:ids)) CROSS JOIN keys ON keys.id = given"

# The fields that JSON shows as they are stored.
PLAIN_FIELDS = (
    "id",
    "key_value",
    "user_id",
    "service_id",
    "provider_id",
    "folder_id",
    "used_at",
    "validity_minutes",
    "key_name",
    "hwid_limit",
    "discord_id",
    "created_at",
)
_FIELDS = ", ".join(
    [
        *(f"'{name}', {name}" for name in PLAIN_FIELDS),
        "'expires_at', ltrim(expires_at, '~')",  # see `column_values`
        *(f"'{name}', iif({name}, json('true'), json('false'))" for name in BOOLEANS),
        "'service_name', 'Service ' || service_id",
        "'provider_name', 'Provider ' || provider_id",
        "'folder_name', (SELECT name FROM folders WHERE folders.id = keys.folder_id)",
        "'hwids', json(hwids)",
        # Most keys have no HWID: this shortcut saves a fifth of a page's time.
        (
            "'keys_hwid', iif(hwids = '[]', json('[]'), (SELECT "
            "json_group_array(json_extract(value, '$.hwid')) FROM json_each(hwids)))"
        ),
    ]
)
KEY_JSON = f"json_object({_FIELDS})"
KEY_DETAILED_JSON = (
    f"json_object({_FIELDS}, 'discord_redemption', iif(discord_id IS NULL OR used_at IS NULL, NULL,"
    " json_object('discord_user_id', discord_id, 'redemption_status', 'redeemed',"
    " 'redeemed_at', used_at)))"
)
