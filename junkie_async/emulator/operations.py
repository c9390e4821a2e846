"""The nine operations: a checked call in, JSON text out. Run in the store's thread."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .store import KeyRef, Store

_MAX_ID_DIGITS = 18  # more leave the 64 bits of an ID
_NO_SUCH_ID = -1


@dataclass(frozen=True, slots=True)
class Call:
    """A request that has passed the contract.

    Attributes:
        parameters: Query and path parameters, typed, with defaults.
        body: The declared fields that were given.
    """

    parameters: Mapping[str, Any]
    body: Mapping[str, Any]

    @property
    def key(self) -> KeyRef:
        """The key of the path: digits are an ID, anything else is a key value."""
        text: str = self.parameters["keyId"]
        if not (text.isascii() and text.isdigit()):
            return text
        digits = text.lstrip("0") or "0"
        return int(digits) if len(digits) <= _MAX_ID_DIGITS else _NO_SUCH_ID


class Answer(NamedTuple):
    """The body, as JSON text, and the status of a response."""

    body: str
    status: int = 200


_NOT_FOUND = Answer('{"error":"Key not found"}', 404)


def _answer(value: Any, status: int = 200) -> Answer:
    return Answer(json.dumps(value, ensure_ascii=False, separators=(",", ":")), status)


def _list_keys(store: Store, call: Call) -> Answer:
    filters = dict(call.parameters)
    page, limit = filters.pop("page"), filters.pop("limit")
    found = store.page(filters, page, limit)
    pages = -(-found.total // limit)
    pagination = {"page": page, "limit": limit, "total": found.total, "totalPages": pages}
    return Answer(f'{{"keys":[{",".join(found.keys)}],"pagination":{json.dumps(pagination)}}}')


def _create_key(store: Store, call: Call) -> Answer:
    return Answer(f'{{"key":{store.create(call.body)}}}', 201)


def _create_key_batch(store: Store, call: Call) -> Answer:
    fields = dict(call.body)
    values = store.create_batch(fields, fields.pop("amount"))
    return _answer({"keys": values, "count": len(values), "config": call.body}, 201)


def _bulk_delete_keys(store: Store, call: Call) -> Answer:
    refs = call.body["keys"]
    return _answer({"deleted": store.bulk_delete(refs), "requested": len(refs)})


def _get_key(store: Store, call: Call) -> Answer:
    key = store.get(call.key)
    return Answer(f'{{"key":{key}}}') if key else _NOT_FOUND


def _update_key(store: Store, call: Call) -> Answer:
    hwids = store.update(call.key, call.body)
    if hwids is None:
        return _NOT_FOUND
    return _answer({"success": True, "message": "Key updated", "keys_hwid": hwids})


def _delete_key(store: Store, call: Call) -> Answer:
    deleted = store.delete(call.key)
    return _answer({"success": True, "message": "Key deleted"}) if deleted else _NOT_FOUND


def _reset_key_hwid(store: Store, call: Call) -> Answer:
    if store.update(call.key, {"hwids": []}) is None:
        return _NOT_FOUND
    return _answer({"success": True, "message": "HWID reset"})


def _list_folders(store: Store, _call: Call) -> Answer:
    return _answer({"folders": store.folders()})


HANDLERS: Mapping[str, Callable[[Store, Call], Answer]] = {
    "listKeys": _list_keys,
    "createKey": _create_key,
    "createKeyBatch": _create_key_batch,
    "bulkDeleteKeys": _bulk_delete_keys,
    "getKey": _get_key,
    "updateKey": _update_key,
    "deleteKey": _delete_key,
    "resetKeyHwid": _reset_key_hwid,
    "listFolders": _list_folders,
}
