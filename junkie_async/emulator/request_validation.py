"""Validate requests against the published contract; the only I/O is reading ``openapi.json``."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from multidict import MultiMapping

try:
    import jsonschema_rs
except ImportError as _error:  # pragma: no cover - pinned by a test in a process of its own
    raise ModuleNotFoundError(
        'The emulator needs jsonschema-rs: pip install "junkie_async[emulator]"', name=_error.name
    ) from _error

# int() accepts blanks, underscores and any alphabet's digits. The length keeps its run time,
# which is quadratic, and its ValueError beyond 4,300 digits out of reach.
_INTEGER = re.compile(r"-?[0-9]{1,100}")
_INT64 = {"minimum": -(2**63), "maximum": 2**63 - 1}


class BadRequestError(Exception):
    """A request breaks the contract in a parameter, or in a body's field such as ``keys.3``."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


def to_json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Translate an OpenAPI 3.0 schema to JSON Schema draft 4, its nearest relative.

    ``nullable`` becomes a second type. Integers are bounded to 64 bits, the most that SQLite can
    hold, where the contract names no tighter bounds.
    """
    translated: dict[str, Any] = {
        name: _translate_keyword(name, value) for name, value in schema.items()
    }
    nullable = translated.pop("nullable", False)
    if translated.get("type") == "integer":
        translated = _INT64 | translated
    if nullable and "type" in translated:
        translated["type"] = [translated["type"], "null"]
        if "enum" in translated:
            translated["enum"] = [*translated["enum"], None]
    return translated


def _translate_keyword(keyword: str, value: Any) -> Any:
    if keyword == "properties":  # a property may be called "items" or "nullable"
        return {name: to_json_schema(schema) for name, schema in value.items()}
    if keyword in ("allOf", "anyOf", "oneOf"):
        return [to_json_schema(schema) for schema in value]
    return to_json_schema(value) if keyword in ("items", "not") else value


class _SchemaValidator:
    """A compiled schema; the first violation becomes a `BadRequestError`."""

    def __init__(self, schema: Mapping[str, Any], name: str) -> None:
        self.properties: Mapping[str, Any] = schema.get("properties", {})
        self._name = name
        # The mask keeps key values, and bodies of any length, out of error messages.
        self._compiled = jsonschema_rs.Draft4Validator(
            to_json_schema(schema), validate_formats=True, mask="value"
        )

    def validate(self, instance: Any) -> None:
        try:
            self._compiled.validate(instance)
        except jsonschema_rs.ValidationError as error:
            raise BadRequestError(self._field_path(error), error.message) from None

    def _field_path(self, error: jsonschema_rs.ValidationError) -> str:
        path = [str(step) for step in error.instance_path]
        # The path of a missing property ends at its parent: append the property's own name.
        if error.kind.name == "required":
            path.append(str(error.kind.as_dict()["property"]))
        return ".".join(path) or self._name


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the contract, with compiled validators for its requests."""

    operation_id: str
    method: str
    path: str
    _parameters: _SchemaValidator
    _body: _SchemaValidator | None

    def validate_parameters(
        self, query: MultiMapping[str], path: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return the declared parameters, typed, with the contract's defaults.

        Raises:
            BadRequestError: A parameter is repeated or violates its schema.
        """
        values: dict[str, Any] = dict(path)
        for name in query:
            # A placeholder's name in the query is an unknown parameter, not a second value.
            if name in self._parameters.properties and name not in path:
                values[name] = self._parse_parameter(name, query)
        self._parameters.validate(values)
        properties = self._parameters.properties.items()
        defaults = {name: one["default"] for name, one in properties if "default" in one}
        return defaults | values

    def validate_body(self, content_type: str, raw: bytes) -> dict[str, Any]:
        """Return a body's declared fields; empty for an operation without a body.

        Raises:
            BadRequestError: The body is not JSON, or violates its schema.
        """
        if self._body is None:
            return {}
        if content_type.lower() != "application/json":
            raise BadRequestError("body", "must be sent as application/json")
        body = _decode_json(raw)
        self._body.validate(body)
        return {name: body[name] for name in self._body.properties if name in body}

    def _parse_parameter(self, name: str, query: MultiMapping[str]) -> Any:
        texts = query.getall(name)
        # Servers disagree on whether the first or the last one counts, so neither does.
        if len(texts) > 1:
            raise BadRequestError(name, "must not be repeated")
        # Text that is not an integer stays text, so that the validator reports it.
        is_integer = self._parameters.properties[name].get("type") == "integer"
        return int(texts[0]) if is_integer and _INTEGER.fullmatch(texts[0]) else texts[0]


def _decode_json(raw: bytes) -> Any:
    try:
        value = json.loads(raw.decode(), parse_constant=_reject_constant)
        if b"\\u" in raw:  # a lone surrogate is legal JSON, but SQLite can't store it as text
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise BadRequestError("body", "is not valid JSON") from None
    return value


def _reject_constant(name: str) -> None:
    # Python's reader accepts NaN and Infinity, which RFC 8259 (section 6) does not permit.
    raise ValueError(f"{name} is not valid JSON")


@cache
def load_contract() -> dict[str, Any]:
    """Return the bundled ``openapi.json``, parsed."""
    text = resources.files("junkie_async.emulator").joinpath("openapi.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


@cache
def load_operations() -> tuple[Operation, ...]:
    """Return every operation of the contract, compiled once per process."""
    return tuple(
        _compile_operation(path, method, declared)
        for path, item in load_contract()["paths"].items()
        for method, declared in item.items()
    )


def _compile_operation(path: str, method: str, declared: Mapping[str, Any]) -> Operation:
    parameters = declared.get("parameters", [])
    # "required" is left out: only parameters in the path are required, and without one a request
    # has another route (test_only_path_parameters_are_required).
    schema = {"properties": {parameter["name"]: parameter["schema"] for parameter in parameters}}
    body = declared.get("requestBody")
    body_schema = body and body["content"]["application/json"]["schema"]
    return Operation(
        operation_id=declared["operationId"],
        method=method.upper(),
        path=path,
        _parameters=_SchemaValidator(schema, "query"),
        _body=_SchemaValidator(body_schema, "body") if body_schema else None,
    )
