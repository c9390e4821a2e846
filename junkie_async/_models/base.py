"""What all models have: their form in JSON, and what pydantic asks about them."""

import enum
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, cast, get_type_hints

import attrs

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, SerializerFunctionWrapHandler
    from pydantic_core import CoreSchema

_AttrsClass: TypeAlias = Any  # `attrs.fields` has no type for the class of an instance of `Model`


class Model:
    """The base of the models."""

    __slots__ = ()

    # The responses of a web app have all fields, so its OpenAPI document must not say "optional".
    __pydantic_config__: ClassVar[dict[str, bool]] = {
        "json_schema_serialization_defaults_required": True
    }

    # Properties that JSON has beside the fields.
    _computed: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, ready for `json.dumps`.

        Datetimes are ISO 8601 strings in UTC (``2026-01-31T12:00:00Z``), enums their values, tuples
        lists, and models inside of this one dicts. Key values and HWIDs are written in full: `repr`
        masks key values, this does not.
        """
        return {name: _to_json(value) for name, value in self._read_fields().items()}

    def _read_fields(self) -> dict[str, Any]:
        fields = [field.name for field in attrs.fields(cast("_AttrsClass", type(self)))]
        return {name: getattr(self, name) for name in (*fields, *self._computed)}

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: object, handler: "GetCoreSchemaHandler"
    ) -> "CoreSchema":
        """Describe the class to pydantic, and so to FastAPI: as a dataclass with the same fields.

        pydantic calls this. It then takes instances and JSON objects, and writes what `to_dict`
        returns.
        """
        # pydantic is there if it asks. This package does not depend on it.
        from pydantic_core import core_schema

        declared = attrs.fields(cast("_AttrsClass", cls))
        hints = get_type_hints(cls, include_extras=True)
        kinds = {field.name: handler.generate_schema(hints[field.name]) for field in declared}
        fields = [
            core_schema.dataclass_field(
                field.name, _add_default(kinds[field.name], field.default), kw_only=True
            )
            for field in declared
        ]
        for name in cls._computed:
            kinds[name] = handler.generate_schema(get_type_hints(getattr(cls, name).fget)["return"])
        computed = [core_schema.computed_field(name, kinds[name]) for name in cls._computed]
        written = {name: core_schema.typed_dict_field(kind) for name, kind in kinds.items()}

        def write(value: Model, write_dict: "SerializerFunctionWrapHandler") -> Any:
            return write_dict(value._read_fields())

        return core_schema.dataclass_schema(
            cls,
            core_schema.dataclass_args_schema(cls.__name__, fields, computed_fields=computed),
            [field["name"] for field in fields],
            slots=True,
            ref=f"{cls.__module__}.{cls.__qualname__}:{id(cls)}",
            # pydantic's own would read instances of dataclasses only.
            serialization=core_schema.wrap_serializer_function_ser_schema(
                write, schema=core_schema.typed_dict_schema(written)
            ),
        )


def _add_default(schema: "CoreSchema", default: Any) -> "CoreSchema":
    from pydantic_core import core_schema

    if default is attrs.NOTHING:
        return schema
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a class, typed as a function
        return core_schema.with_default_schema(schema, default_factory=default.factory)
    return core_schema.with_default_schema(schema, default=default)


def _to_json(value: Any) -> Any:
    match value:
        case Model():
            return value.to_dict()
        case datetime():
            return _format_datetime(value)
        case date():
            return value.isoformat()
        case enum.Enum():
            return value.value
        case tuple() | list():
            return [_to_json(item) for item in cast("Sequence[Any]", value)]
        case Mapping():
            members = cast("dict[Any, Any]", value)
            return {str(_to_json(name)): _to_json(member) for name, member in members.items()}
        case Exception():
            return str(value)
        case _:
            return value


def _format_datetime(moment: datetime) -> str:
    # Those of responses are in UTC. Callers may make models with others, even naive ones.
    aware = moment if moment.utcoffset() is None else moment.astimezone(UTC)
    return aware.isoformat().replace("+00:00", "Z")
