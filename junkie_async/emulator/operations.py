"""The nine operations: a validated request in, JSON text out. They run in the store's thread."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .store import KeyRef, Store

_MAX_ID_DIGITS = 18  # with more, the number may not fit the 64 bits of an ID
_NO_SUCH_ID = -1


class ValidRequest(NamedTuple):
    """The typed parameters of a request, with defaults, and the declared fields of its body."""

    parameters: Mapping[str, Any]
    body: Mapping[str, Any]

    @property
    def key(self) -> KeyRef:
        """The key in the path: digits are an ID, anything else is a key value."""
        text: str = self.parameters["keyId"]
        if not (text.isascii() and text.isdigit()):
            return text
        digits = text.lstrip("0") or "0"
        return int(digits) if len(digits) <= _MAX_ID_DIGITS else _NO_SUCH_ID


class JsonResponse(NamedTuple):
    """A response: the body, as JSON text, and the status."""

    body: str
    status: int = 200


_NOT_FOUND = JsonResponse('{"error":"Key not found"}', 404)


def _to_response(value: Any, status: int = 200) -> JsonResponse:
    return JsonResponse(json.dumps(value, ensure_ascii=False, separators=(",", ":")), status)


def _list_keys(store: Store, request: ValidRequest) -> JsonResponse:
    filters = dict(request.parameters)
    page, limit = filters.pop("page"), filters.pop("limit")
    keys, total = store.page(filters, page, limit)
    pages = -(-total // limit)
    pagination = {"page": page, "limit": limit, "total": total, "totalPages": pages}
    # SQLite has rendered each key as JSON: join them instead of parsing and dumping them again.
    body = f'{{"keys":[{",".join(keys)}],"pagination":{json.dumps(pagination)}}}'
    return JsonResponse(body)


def _create_key(store: Store, request: ValidRequest) -> JsonResponse:
    return JsonResponse(f'{{"key":{store.create(request.body)}}}', 201)


def _create_key_batch(store: Store, request: ValidRequest) -> JsonResponse:
    fields = dict(request.body)
    values = store.create_batch(fields, fields.pop("amount"))
    return _to_response({"keys": values, "count": len(values), "config": request.body}, 201)


def _bulk_delete_keys(store: Store, request: ValidRequest) -> JsonResponse:
    refs = request.body["keys"]
    return _to_response({"deleted": store.bulk_delete(refs), "requested": len(refs)})


def _get_key(store: Store, request: ValidRequest) -> JsonResponse:
    key = store.get(request.key)
    return JsonResponse(f'{{"key":{key}}}') if key else _NOT_FOUND


def _update_key(store: Store, request: ValidRequest) -> JsonResponse:
    hwids = store.update(request.key, request.body)
    if hwids is None:
        return _NOT_FOUND
    return _to_response({"success": True, "message": "Key updated", "keys_hwid": hwids})


def _delete_key(store: Store, request: ValidRequest) -> JsonResponse:
    deleted = store.bulk_delete([request.key])
    return _to_response({"success": True, "message": "Key deleted"}) if deleted else _NOT_FOUND


def _reset_key_hwid(store: Store, request: ValidRequest) -> JsonResponse:
    if store.update(request.key, {"hwids": []}) is None:
        return _NOT_FOUND
    return _to_response({"success": True, "message": "HWID reset"})


def _list_folders(store: Store, _request: ValidRequest) -> JsonResponse:
    return _to_response({"folders": store.folders()})


HANDLERS: Mapping[str, Callable[[Store, ValidRequest], JsonResponse]] = {
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
