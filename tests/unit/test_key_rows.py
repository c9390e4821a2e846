"""Keys of a page come as structs and become attrs models: nobody can tell them from other keys."""

from __future__ import annotations

import copy
import gc
import json
import pickle
import weakref
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import given

from junkie_async import Key
from junkie_async._protocol import bodies, codec
from junkie_async._protocol.key_rows import make_keys

from .test_codec import mixed_rows, page_bodies, valid_rows

FULL = {
    "id": 2**53 - 1,
    "key_value": "JNK-ABCD-EFGH",
    "user_id": 1,
    "service_id": 2,
    "provider_id": 3,
    "folder_id": 4,
    "expires_at": "2031-01-31T12:00:00Z",
    "used_at": "2026-01-31T12:00:00Z",
    "is_premium": True,
    "is_invalidated": True,
    "one_time_use": True,
    "expiry_on_first_use": True,
    "validity_minutes": 5,
    "no_hwid": True,
    "key_name": "a note",
    "hwid_limit": 6,
    "discord_id": "1" * 18,
    "created_at": "2025-01-31T12:00:00Z",
    "service_name": "service",
    "provider_name": "provider",
    "folder_name": "folder",
    "hwids": [
        {
            "hwid": "PC",
            "executor_user_id": "7",
            "bound_at": "2026-02-01T00:00:00Z",
            "bound_by": "api",
        }
    ],
    "keys_hwid": ["PC"],
}


def decode_models(body: bytes) -> tuple[Key, ...]:
    """Have msgspec decode the attrs classes themselves."""
    return msgspec.json.decode(body, type=bodies.PageBody).keys


def decode_rows(body: bytes) -> tuple[Key, ...]:
    """Decode a page as the codec does, but for the conversion to UTC."""
    return make_keys(msgspec.json.decode(body, type=bodies.PageRows).keys)


def read(row: dict[str, Any]) -> Key:
    """Read a page of one key."""
    (key,) = codec.read_page(json.dumps({"keys": [row]}).encode()).keys
    return key


def test_every_field_is_read() -> None:
    """Into a field of the same name: none of the values is a default."""
    assert read(FULL).to_dict() == FULL | {"status": "invalidated"}


def test_what_is_left_out_has_its_default() -> None:
    """As in a `Key` that is made without it."""
    assert read({"id": 1, "key_value": "a"}) == Key(id=1, key_value="a")


@given(page_bodies(valid_rows | mixed_rows))
def test_rows_are_decoded_as_models_are(page: tuple[list[Any], bytes]) -> None:
    """The structs take and refuse the same bodies as the attrs classes, with the same values."""
    _, body = page
    try:
        models = decode_models(body)
    except msgspec.DecodeError:
        with pytest.raises(msgspec.DecodeError):
            decode_rows(body)
    else:
        assert decode_rows(body) == models


def test_a_key_is_a_key() -> None:
    """Frozen, equal to one made by hand, and can be pickled, copied and weakly referenced."""
    key, made = read(FULL), codec.decode_key(json.dumps(FULL).encode())
    assert type(key) is Key
    assert key == made
    assert made == key
    assert hash(key) == hash(made)
    assert repr(key) == repr(made)
    assert type(pickle.loads(pickle.dumps(key))) is Key
    assert copy.deepcopy(key) == attrs.evolve(key) == key
    assert weakref.ref(key)() is key
    assert not hasattr(key, "__dict__")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        key.id = 2  # type: ignore[misc]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        del key.id  # pyright: ignore[reportAttributeAccessIssue]


def test_rows_are_freed() -> None:
    """A walk holds one page of keys: nothing else refers to them, and they need no collection."""
    gc.collect()
    gc.disable()
    try:
        key = weakref.ref(read(FULL))
        assert key() is None
    finally:
        gc.enable()
