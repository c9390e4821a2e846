"""Requests that the package does not model: `JunkieClient.request`, without I/O."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeGuard, cast
from urllib.parse import parse_qsl, quote, unquote, urlencode

from .._errors import InvalidRequestError
from .._models import APIResponse, Model
from .._validation import check_boolean, check_datetime, check_iterable, check_text, safe_repr
from .bodies import check_refusal
from .fields import format_timestamp, secret_fields
from .json_documents import decode_document, decode_json, encode_json
from .lenient import is_list, is_object
from .requests import KEY, Request, is_reserved

Scalar: TypeAlias = str | int | float | datetime
Params: TypeAlias = Mapping[str, Scalar | Iterable[Scalar] | None]

_IS_IDEMPOTENT: Final = {"GET": True, "PUT": True, "DELETE": True, "POST": False, "PATCH": False}
"""RFC 9110, section 9.2.2, and RFC 5789."""

_MAX_PATH: Final = 4096

_JSON_VALUES: Final = (
    "what JSON can hold: dicts with string keys, lists, strings, finite numbers, bools, None,"
    " datetimes with an offset, or this package's models"
)
_SHOWN_DEPTH: Final = 8

_SECRET_IN_RESPONSES: Final = frozenset({"key_value", "keys_hwid"})
"""What a caller may send back as the service names it in its responses."""

# What a service calls its resources. Anything else in a path is a value, which no log should show:
# a key value in the worst case, and a name for each value in the metrics otherwise.
# No two parts of the pattern match the same letter: otherwise 40 of them would take 8 s.
_WORD: Final = r"v[0-9]{1,2}|(?=.{1,40}$)[a-z]+(?:[-_][A-Za-z][a-z]+|[A-Z][a-z]+)*"
_LONE_PERCENT: Final = r"%(?![0-9A-Fa-f]{2})"
_SAFE_IN_PATH: Final = "/%!$&'()*+,;=:@~"


def make_raw_request(
    method: Any,
    path: Any,
    *,
    params: Any = None,
    json: Any = None,
    idempotent: Any = None,
    secret: Any = (),
) -> Request[APIResponse]:
    """Check the arguments of `JunkieClient.request`, and make the request.

    Raises:
        InvalidRequestError: One of them is out of its limits.
    """
    verb = _check_method(method)
    declared = _check_secret(secret)
    segments, query = _split_path(path)
    pairs = _write_params(params, query)
    body = _encode_body(verb, json)
    document = None if body is None else decode_json(body)
    hidden = declared - {*_find_names(document), *(name for name, _ in pairs)}
    names = secret_fields() | _SECRET_IN_RESPONSES | declared
    hidden |= {text for name, text in pairs if name in names}
    hidden |= set(_find_values(document, names))
    shown = [(one, _name_segment(segments, at, hidden)) for at, one in enumerate(segments)]
    values = (one for one, name in shown if name in ("{value}", "{keyId}"))
    hidden |= {unquote(one) for one in values if not one.isdigit()}  # of digits it is an ID
    target = "/" + "/".join(segments) + (f"?{urlencode(pairs, quote_via=quote)}" if pairs else "")
    is_idempotent = _IS_IDEMPOTENT[verb] if idempotent is None else idempotent
    return Request(
        verb,
        "/" + "/".join(name for _, name in shown),
        target,
        _read_nothing,
        body,
        idempotent=check_boolean("idempotent", is_idempotent),
        unsent_secrets=tuple(sorted(one for one in hidden if one)),
        read_whole=_read_response,
    )


def _check_method(method: Any) -> str:
    verb = str.upper(method) if isinstance(method, str) else ""
    if verb not in _IS_IDEMPOTENT:
        raise InvalidRequestError(
            "method", safe_repr(method), f"one of {', '.join(_IS_IDEMPOTENT)}"
        )
    return verb


def _check_secret(secret: Any) -> set[str]:
    given = (secret,) if isinstance(secret, str) else secret
    limit = "names of fields, or values, as strings"
    return {
        check_text(f"secret[{index}]", one, empty=True)
        for index, one in enumerate(check_iterable("secret", given, limit))
    }


def _split_path(path: Any) -> tuple[list[str], str]:
    """Return a path's quoted segments, and its query."""
    limit = "a path below the base URL that begins with one slash, such as '/services'"
    written, has_query, query = check_text("path", path, _MAX_PATH).partition("?")
    if not written.startswith("/") or written.startswith("//"):
        raise InvalidRequestError("path", safe_repr(path), limit)
    if "#" in path or (has_query and not query):
        raise InvalidRequestError("path", safe_repr(path), "a path without '#' or a lone '?'")
    quoted = quote(re.sub(_LONE_PERCENT, "%25", written), safe=_SAFE_IN_PATH)
    segments = quoted[1:].split("/")
    for segment in segments:
        # RFC 3986, section 5.2.4. Some servers take a backslash, or "%2F", for a slash.
        if {".", ".."} & set(re.split(r"[/\\]", unquote(segment))):
            raise InvalidRequestError("path", safe_repr(path), "a path without '.' and '..'")
    if "" in segments[:-1]:
        raise InvalidRequestError("path", safe_repr(path), "a path without '//'")
    return segments, query


def _write_params(params: Any, query: str) -> list[tuple[str, str]]:
    given: Any = params
    if params is None:
        return parse_qsl(query, keep_blank_values=True)
    if query:
        limit = "None, as the path has a query"
        raise InvalidRequestError("params", f"a {type(params).__name__}", limit)
    if not isinstance(params, Mapping):
        raise InvalidRequestError("params", safe_repr(params), "a mapping of names to values")
    pairs: list[tuple[str, str]] = []
    for name, value in given.items():
        key = check_text("a name in params", name)
        items: Sequence[Any] = value if is_list(value) or _is_tuple(value) else (value,)
        field = f"params[{safe_repr(name)}]"
        pairs += [(key, _write_param(field, one)) for one in items if one is not None]
    return pairs


def _is_tuple(value: Any) -> TypeGuard[tuple[Any, ...]]:
    return isinstance(value, tuple)


def _write_param(field: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return check_text(field, value, empty=True)
    if isinstance(value, datetime):
        return format_timestamp(check_datetime(field, value))
    if isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        with suppress(ValueError):  # Python writes no integer of more than 4,300 digits
            return str(value)
    limit = "a string, a finite number, a bool, a datetime, a list of these, or None"
    raise InvalidRequestError(field, safe_repr(value), limit)


def _encode_body(method: str, json: Any) -> bytes | None:
    if json is None:
        return None
    if method == "GET":
        raise InvalidRequestError("json", f"a {type(json).__name__}", "None for GET: use params=")
    _check_document(json)
    with suppress(Exception):  # msgspec's: a loop of lists, or an integer of more than 64 bits
        return encode_json(json)
    raise InvalidRequestError("json", f"a {type(json).__name__}", _JSON_VALUES)


# A list of the places of its members would be quadratic: each has its parent's place and its name.
_Place: TypeAlias = "tuple[_Place, str | int] | None"


def _check_document(json: Any) -> None:
    """Refuse what JSON can't hold, of which msgspec would write something else: null for nan."""
    left: deque[tuple[Any, _Place]] = deque([(json, None)])
    seen: dict[int, Any] = {}  # with the containers, whose IDs are theirs as long as they live
    while left:
        member, place = left.popleft()
        if not _has_members(member):
            _check_value(member, place)
        elif id(member) not in seen:
            seen[id(member)] = member
            left += ((one, (place, name)) for name, one in _iterate_members(member, place))


def _has_members(value: Any) -> bool:
    return isinstance(value, dict | list | tuple)


def _iterate_members(member: Any, place: _Place) -> Iterator[tuple[str | int, Any]]:
    if not isinstance(member, dict):
        yield from enumerate(member)
        return
    for name, one in cast("Any", member).items():
        if not isinstance(name, str):
            limit = "strings as the names of a JSON object"
            raise InvalidRequestError(_name_place(place), f"{safe_repr(name)} as a name", limit)
        yield name, one


def _check_value(value: Any, place: _Place) -> None:
    if value is None or isinstance(value, str | int | Model):
        return
    if isinstance(value, datetime):
        check_datetime(_name_place(place), value)
    elif not isinstance(value, float) or not math.isfinite(value):
        shown = float.__repr__(value) if isinstance(value, float) else f"a {type(value).__name__}"
        raise InvalidRequestError(_name_place(place), shown, _JSON_VALUES)


def _name_place(place: _Place) -> str:
    """Return a place as Python writes it, such as ``json['limits'][0]``; of a deep one its end."""
    names: list[str] = []
    while place is not None and len(names) < _SHOWN_DEPTH:
        place, name = place
        names.append(f"[{safe_repr(name)}]")
    return f"json{'…' if place else ''}{''.join(reversed(names))}"


# Not by recursion: msgspec writes what is nested deeper than Python's own limit.
def _find_names(document: Any) -> Iterator[str]:
    """Yield the names of all fields of a JSON document."""
    left = [document]
    while left:
        member = left.pop()
        if is_object(member):
            yield from member
            left += member.values()
        elif is_list(member):
            left += member


def _find_values(document: Any, names: Collection[str]) -> Iterator[str]:
    """Yield the values of the fields with these names, and all that is inside of them."""
    left = [(document, False)]
    while left:
        member, is_secret = left.pop()
        if is_object(member):
            left += [(one, is_secret or name in names) for name, one in member.items()]
        elif is_list(member):
            left += [(one, is_secret) for one in member]
        elif is_secret and member is not None and not isinstance(member, bool):
            yield str(member)


def _name_segment(segments: list[str], index: int, hidden: Iterable[str]) -> str:
    """Return a segment as logs may show it."""
    segment = segments[index]
    is_key = index == 1 and segments[0] == "keys" and segment and not is_reserved(segment)
    if is_key:
        return KEY.rpartition("/")[2]
    if segment.isdigit():
        return "{id}"
    is_hidden = any(one in unquote(segment) for one in hidden if one)
    return segment if not segment or (re.fullmatch(_WORD, segment) and not is_hidden) else "{value}"


def _read_response(status: int, headers: Mapping[str, str], body: bytes) -> APIResponse:
    if not body.strip():
        return APIResponse(status=status, headers=headers)
    document = decode_document(body)
    check_refusal(document)
    return APIResponse(status=status, headers=headers, data=document)


def _read_nothing(_: bytes) -> APIResponse:
    """Return what a 404 means for a DELETE that an earlier attempt has carried out."""
    return APIResponse(status=404)
