"""Options that several commands share, each declared once and spread into the commands.

The options for filters and for a key's fields are made of the SDK's own declarations, such as
`junkie_async.Filters`: a new field of the API becomes an option by itself.
"""

import functools
import inspect
import os
import types
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import (
    Annotated,
    Any,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

import attrs
import typer

_TIME = "2026-01-31T12:00:00Z"


def spread_options(command: Callable[..., None]) -> Callable[..., None]:
    """Replace a command's parameters that are classes by one option per field.

    For a parameter annotated with a TypedDict of the SDK, the command gets a dict of the options
    that were given. For an attrs class of options, it gets an instance. Other parameters stay as
    they are.
    """
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[Callable[..., Any], list[str]]] = {}
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        kind = parameter.annotation
        if is_typeddict(kind):
            group = list(_make_options(kind))
            groups[parameter.name] = (_keep_given, [option.name for option in group])
        elif attrs.has(kind):
            group = list(inspect.signature(kind).parameters.values())
            groups[parameter.name] = (kind, [option.name for option in group])
        else:
            group = [parameter]
        parameters += group

    @functools.wraps(command)
    def run_command(**given: Any) -> None:
        for name, (make, options) in groups.items():
            given[name] = make(**{option: given.pop(option) for option in options})
        command(**given)

    # Keyword-only, so that options without a default may follow others.
    parameters = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in parameters]
    run_command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    run_command.__annotations__ = {each.name: each.annotation for each in parameters}
    return run_command


def _keep_given(**options: Any) -> dict[str, Any]:
    # None or an empty list is how typer passes an option that was left out; False and 0 are values.
    return {name: value for name, value in options.items() if value not in (None, [], ())}


def _make_options(fields: type[Any]) -> Iterator[inspect.Parameter]:
    """Make an option of each field of a TypedDict."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    for name, (kinds, text) in read_fields(fields).items():
        kind, option = _make_option(name, kinds, text)
        yield inspect.Parameter(
            name, keyword, default=None, annotation=Annotated[kind | None, option]
        )


def read_fields(fields: type[Any]) -> dict[str, tuple[frozenset[Any], str]]:
    """Return the types that each field of a TypedDict accepts, and its help."""
    declared: dict[str, tuple[frozenset[Any], str]] = {}
    for name, hint in get_type_hints(fields, include_extras=True).items():
        kind, _, *texts = get_args(hint) if get_origin(hint) is Annotated else (hint, None)
        # `int | None` is a `types.UnionType`, and `Optional[int]` a `typing.Union`.
        kinds = get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)
        declared[name] = (frozenset(kinds), next(iter(texts), ""))
    return declared


def _name_switch(name: str) -> tuple[str, ...]:
    """Name the options for True and False; without the second one False could not be given."""
    option = name.replace("_", "-")
    negative = option.removeprefix("no-")
    return () if negative == option else (f"--{option}/--use-{negative}",)  # not `--no-no-hwid`


def _name_value(name: str, kind: type) -> str:
    """Name an option's value in the help."""
    if name.endswith("_id"):
        return "ID"
    return "TEXT" if kind is str else "N"


def _make_option(name: str, kinds: frozenset[Any], text: str) -> tuple[Any, Any]:
    """Choose the one type that the command line reads, of those that the SDK accepts."""
    from .. import KeyStatus  # the command line's own options need no SDK

    # An enum gives the help its choices and the shell its completion.
    if KeyStatus in kinds:
        return KeyStatus, typer.Option(help=text)
    if datetime in kinds:
        text = f"{text} For example {_TIME}, or a date for midnight UTC."
        return datetime, typer.Option(parser=parse_time, metavar="TIME", help=text)
    # Discord IDs may be int or str: a str of digits is checked as such, in the SDK.
    if bool in kinds:
        return bool, typer.Option(*_name_switch(name), help=text)
    for kind in (str, int):
        if kind in kinds:
            return kind, typer.Option(metavar=_name_value(name, kind), help=text)
    return list[str], typer.Option(metavar="HWID", help=f"{text} May be given several times.")


def parse_time(text: str) -> datetime:
    """Read an ISO 8601 date and time with its UTC offset, or a date, which is midnight UTC."""
    try:
        return _parse_date(text)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    # A time without an offset would be a guess whose time is meant, the user's or the service's.
    if time is None or time.tzinfo is None:
        raise typer.BadParameter(
            f"must be a date, or a date and time with a UTC offset, such as {_TIME}"
        )
    return time


def _parse_date(text: str) -> datetime:
    midnight = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    if "_JUNKIE_COMPLETE" not in os.environ:  # a shell that completes a command parses it, too
        shown = f"{midnight:%Y-%m-%dT%H:%M:%SZ}"
        typer.echo(f"Note: {text} is taken as midnight UTC, {shown}", err=True)
    return midnight


Provider: TypeAlias = Annotated[
    int, typer.Option(metavar="ID", help="Provider to issue the keys under.")
]


@attrs.frozen(kw_only=True)
class JSONOption:
    """Whether a program reads the output."""

    json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")] = False


@attrs.frozen(kw_only=True)
class ViewOptions(JSONOption):
    """How keys are shown."""

    show_values: Annotated[
        bool, typer.Option("--show-values", help="Print key values in full instead of masked.")
    ] = False
