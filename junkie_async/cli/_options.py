"""Options that commands share: each set is declared once, as a class, and spread into commands."""

import enum
import functools
import inspect
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, TypeAlias

import attrs
import typer

from .. import KeyStatus
from ._output import fail


def spread(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of the attrs classes that its parameters are annotated with.

    In place of ``filters: FilterOptions`` the command line has an option for each field of the
    class, and the command gets the instance that is made of them.
    """
    own: list[inspect.Parameter] = []
    sets: dict[str, tuple[type[Any], list[str]]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if not attrs.has(parameter.annotation):
            own.append(parameter)
            continue
        fields = list(inspect.signature(parameter.annotation).parameters.values())
        sets[parameter.name] = (parameter.annotation, [field.name for field in fields])
        own += fields

    @functools.wraps(command)
    def run(**given: Any) -> None:
        for name, (options, fields) in sets.items():
            given[name] = options(**{field: given.pop(field) for field in fields})
        command(**given)

    # Keyword-only, so that options without a default may follow others.
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    run.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]  # `inspect` asks for it
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in own}
    return run


def moment(text: str) -> datetime:
    """Read a date and time with its offset, as the API writes it."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise typer.BadParameter("a date and time with an offset, such as 2026-01-31T12:00:00Z")
    return at


@attrs.frozen
class _Fields:
    """Options that are the API's fields."""

    def given(self) -> dict[str, Any]:
        """Give those that were given, by the API's names."""
        values = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        return {name: value for name, value in values.items() if value not in (None, [], ())}


@attrs.frozen(kw_only=True)
class FilterOptions(_Fields):
    """What a list can be narrowed by."""

    discord_id: Annotated[str | None, typer.Option(help="The owner on Discord.")] = None
    key: Annotated[str | None, typer.Option(help="A part of the key value.")] = None
    hwid: Annotated[str | None, typer.Option(help="A part of a bound device's identifier.")] = None
    service_id: Annotated[int | None, typer.Option(help="The service.")] = None
    provider_id: Annotated[int | None, typer.Option(help="The provider.")] = None
    folder_id: Annotated[int | None, typer.Option(help="The folder.")] = None
    status: Annotated[KeyStatus | None, typer.Option(help="What the keys are worth.")] = None
    expires_before: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="Such as 2026-01-31T12:00:00Z."),
    ] = None
    expires_after: Annotated[
        datetime | None, typer.Option(parser=moment, metavar="TIME", help="Likewise.")
    ] = None


@attrs.frozen(kw_only=True)
class _Settings(_Fields):
    """What a new key may be given, and an old one too."""

    folder_id: Annotated[int | None, typer.Option(help="The folder to file it in.")] = None
    key_name: Annotated[str | None, typer.Option(help="A note of up to 255 characters.")] = None
    validity_minutes: Annotated[
        int | None, typer.Option(help="Whole minutes until it expires.")
    ] = None
    discord_id: Annotated[
        str | None, typer.Option(help="The owner on Discord, 17 to 19 digits.")
    ] = None
    is_premium: Annotated[bool | None, typer.Option(help="Whether it is premium.")] = None
    one_time_use: Annotated[bool | None, typer.Option(help="Whether the first use spends it.")] = (
        None
    )
    expiry_on_first_use: Annotated[
        bool | None, typer.Option(help="Whether the validity begins with the first use.")
    ] = None
    no_hwid: Annotated[bool | None, typer.Option(help="Whether it is never bound to a device.")] = (
        None
    )
    hwid_limit: Annotated[
        int | None, typer.Option(help="How many devices may be bound, 0 to 100.")
    ] = None


Provider: TypeAlias = Annotated[int, typer.Option(help="The provider that hands it out.")]


@attrs.frozen(kw_only=True)
class BatchOptions(_Settings):
    """What new keys may be given."""

    service_id: Annotated[int | None, typer.Option(help="The service that it unlocks.")] = None
    hwid: Annotated[str | None, typer.Option(help="A device to bind.")] = None


@attrs.frozen(kw_only=True)
class CreateOptions(BatchOptions):
    """What a single new key may be given."""

    hwids: Annotated[
        list[str] | None,
        typer.Option(metavar="HWID", help="A device to bind; give it once for each."),
    ] = None


class Clearable(enum.StrEnum):
    """The fields that an update can take away."""

    FOLDER_ID = "folder_id"
    KEY_NAME = "key_name"
    VALIDITY_MINUTES = "validity_minutes"
    EXPIRES_AT = "expires_at"
    HWID_LIMIT = "hwid_limit"
    DISCORD_ID = "discord_id"
    HWIDS = "hwids"


@attrs.frozen(kw_only=True)
class UpdateOptions(_Settings):
    """What can be changed of a key."""

    expires_at: Annotated[
        datetime | None,
        typer.Option(parser=moment, metavar="TIME", help="Such as 2026-01-31T12:00:00Z."),
    ] = None
    is_invalidated: Annotated[bool | None, typer.Option(help="Whether it is revoked.")] = None
    hwids: Annotated[
        list[str] | None,
        typer.Option(metavar="HWID", help="A device bound from now on; give it once for each."),
    ] = None
    clear: Annotated[
        list[Clearable] | None,
        typer.Option(
            metavar="FIELD",
            help=f"A field to take away, by sending null: {', '.join(Clearable)}. Give it once "
            "for each.",
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """Give the changes, by the API's names; None, or no devices, for what is taken away."""
        changes = super().given()
        cleared = changes.pop("clear", ())
        for field in cleared:
            if field.value in changes:
                option = field.value.replace("_", "-")
                fail(f"--{option} and --clear {field} contradict each other")
        return changes | {
            field.value: [] if field is Clearable.HWIDS else None for field in cleared
        }


@attrs.frozen(kw_only=True)
class ViewOptions:
    """How keys are shown."""

    json: Annotated[bool, typer.Option("--json", help="Print JSON, an object a line.")] = False
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Show key values in full, not masked.")
    ] = False


@attrs.frozen(kw_only=True)
class JSONOption:
    """Whether a program reads the output."""

    json: Annotated[bool, typer.Option("--json", help="Print JSON, an object a line.")] = False
