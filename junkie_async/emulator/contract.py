"""The published contract as a judge of requests: pure, no I/O beyond reading ``openapi.json``."""

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
except ImportError as error:  # pragma: no cover - pinned by a test in a process of its own
    raise ImportError(
        'The emulator needs jsonschema-rs: pip install "junkie_async[emulator]"'
    ) from error

_INTEGER = re.compile(r"-?[0-9]{1,100}")
_INT64 = {"minimum": -(2**63), "maximum": 2**63 - 1}
_SCHEMA_MAPS = {"properties"}
_SCHEMA_LISTS = {"allOf", "anyOf", "oneOf"}
_SCHEMAS = {"items", "not"}


class BadRequestError(Exception):
    """A request breaks the contract.

    Args:
        field: Where: a parameter's name, or a dotted path in the body such as ``keys.3``.
        message: What is wrong there.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


def to_json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Translate a schema of OpenAPI 3.0 to JSON Schema draft 4, its nearest relative.

    ``nullable`` becomes a second type. Integers get the bounds of 64 bits, which is what SQLite
    can hold and any service is likely to; the contract names no others where it names none.

    Args:
        schema: A schema object of the document.

    Returns:
        A new schema; the given one is left as it was.
    """
    translated = {name: _translate(name, value) for name, value in schema.items()}
    nullable = translated.pop("nullable", False)
    if translated.get("type") == "integer":
        translated = _INT64 | translated
    if nullable and "type" in translated:
        translated["type"] = [translated["type"], "null"]
        if "enum" in translated:
            translated["enum"] = [*translated["enum"], None]
    return translated


def _translate(keyword: str, value: Any) -> Any:
    if keyword in _SCHEMA_MAPS:
        return {name: to_json_schema(schema) for name, schema in value.items()}
    if keyword in _SCHEMA_LISTS:
        return [to_json_schema(schema) for schema in value]
    return to_json_schema(value) if keyword in _SCHEMAS else value


class _Validator:
    """One compiled schema, whose first complaint becomes a `BadRequestError`."""

    def __init__(self, schema: Mapping[str, Any], name: str) -> None:
        self.properties: Mapping[str, Any] = schema.get("properties", {})
        self._name = name
        # The mask keeps key values, and bodies of any length, out of error messages.
        self._compiled = jsonschema_rs.Draft4Validator(
            to_json_schema(schema), validate_formats=True, mask="value"
        )

    def check(self, instance: Any) -> None:
        try:
            self._compiled.validate(instance)
        except jsonschema_rs.ValidationError as error:
            raise BadRequestError(self._where(error), error.message) from None

    def _where(self, error: jsonschema_rs.ValidationError) -> str:
        path = [str(step) for step in error.instance_path]
        if error.kind.name == "required":
            path.append(str(error.kind.as_dict()["property"]))
        return ".".join(path) or self._name


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the contract, and its judgement of requests.

    Attributes:
        operation_id: Its name in the document, such as ``listKeys``.
        method: The HTTP method, in upper case.
        path: The path below the server's address, with ``{placeholders}``.
    """

    operation_id: str
    method: str
    path: str
    _parameters: _Validator
    _body: _Validator | None

    def check_parameters(self, query: MultiMapping[str], path: Mapping[str, str]) -> dict[str, Any]:
        """Deserialise and judge what the address carries.

        Args:
            query: The query string, decoded. Parameters that the contract lacks are ignored.
            path: The placeholders' values, decoded.

        Returns:
            The declared parameters, typed, with the contract's defaults.

        Raises:
            BadRequestError: A parameter is repeated or breaks its schema.
        """
        values: dict[str, Any] = dict(path)
        for name in query:
            if name in self._parameters.properties and name not in path:
                values[name] = self._one(name, query)
        self._parameters.check(values)
        return self._defaults() | values

    def check_body(self, content_type: str, raw: bytes) -> dict[str, Any]:
        """Decode and judge a request's body.

        Args:
            content_type: The media type, without parameters.
            raw: The body as it came.

        Returns:
            The declared fields that were given; empty for an operation without a body.

        Raises:
            BadRequestError: It is not JSON, or breaks its schema.
        """
        if self._body is None:
            return {}
        if content_type.lower() != "application/json":
            raise BadRequestError("body", "must be sent as application/json")
        body = _decode(raw)
        self._body.check(body)
        return {name: body[name] for name in self._body.properties if name in body}

    def _one(self, name: str, query: MultiMapping[str]) -> Any:
        texts = query.getall(name)
        if len(texts) > 1:
            raise BadRequestError(name, "is given more than once")
        # What is no integer stays text, so that the validator says so.
        is_integer = self._parameters.properties[name].get("type") == "integer"
        return int(texts[0]) if is_integer and _INTEGER.fullmatch(texts[0]) else texts[0]

    def _defaults(self) -> dict[str, Any]:
        properties = self._parameters.properties.items()
        return {name: schema["default"] for name, schema in properties if "default" in schema}


def _decode(raw: bytes) -> Any:
    try:
        value = json.loads(raw.decode(), parse_constant=_refuse_constant)
        if b"\\u" in raw:  # a lone surrogate is legal JSON but no text that can be stored
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise BadRequestError("body", "is not JSON") from None
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


@cache
def load_document() -> dict[str, Any]:
    """Return the bundled contract, parsed."""
    text = resources.files(__package__).joinpath("openapi.json").read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


@cache
def operations() -> tuple[Operation, ...]:
    """Return every operation of the contract, compiled once in a process."""
    return tuple(
        _operation(path, method, declared)
        for path, item in load_document()["paths"].items()
        for method, declared in item.items()
    )


def _operation(path: str, method: str, declared: Mapping[str, Any]) -> Operation:
    parameters = declared.get("parameters", [])
    schema = {
        "type": "object",
        "properties": {parameter["name"]: parameter["schema"] for parameter in parameters},
        "required": [parameter["name"] for parameter in parameters if parameter.get("required")],
    }
    if not schema["required"]:
        del schema["required"]  # draft 4 has no empty list there
    body = declared.get("requestBody")
    body_schema = body and body["content"]["application/json"]["schema"]
    return Operation(
        operation_id=declared["operationId"],
        method=method.upper(),
        path=path,
        _parameters=_Validator(schema, "query"),
        _body=_Validator(body_schema, "body") if body_schema else None,
    )
