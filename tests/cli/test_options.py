"""Options that are made of the SDK's fields and of classes."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import attrs
import pytest
import typer
from typer.testing import CliRunner

from junkie_async import CreateFields, Filters, KeyStatus, UpdateFields
from junkie_async.cli._options import parse_time, read_fields, spread_options

from ._invoke import invoke


def test_a_class_of_options_is_spread_into_a_command() -> None:
    """Its fields become options in its place, required ones too."""

    @attrs.frozen(kw_only=True)
    class Size:
        width: Annotated[int, typer.Option(help="How wide.")]
        height: Annotated[int, typer.Option(help="How high.")] = 2

    got: list[object] = []

    @spread_options
    def draw(name: str, *, loud: bool = False, size: Size) -> None:
        """Draw."""
        got.append((name, loud, size))

    one = typer.Typer()
    one.command()(draw)
    assert CliRunner().invoke(one, ["box", "--width=3"]).exit_code == 0
    assert got == [("box", False, Size(width=3))]
    assert CliRunner().invoke(one, ["box"]).exit_code == 2
    assert "How wide." in CliRunner().invoke(one, ["--help"]).output


def _run(command: Callable[..., None], *options: str) -> None:
    one = typer.Typer()
    one.command()(spread_options(command))
    result = CliRunner().invoke(one, options)
    assert result.exit_code == 0, result.output


def test_filters_become_a_dict_of_those_given() -> None:
    """Each value has its type, and omitted options are not in the dict."""
    got: list[Filters] = []

    def show(*, filters: Filters) -> None:
        got.append(filters)

    time = "2030-01-01T00:00:00Z"
    _run(show, "--status=used", f"--expires-before={time}", "--discord-id=7", "--folder-id=1")
    assert got == [
        {
            "status": KeyStatus.USED,
            "expires_before": datetime.fromisoformat(time),
            "discord_id": "7",
            "folder_id": 1,
        }
    ]


def test_fields_that_are_false_or_zero_are_given() -> None:
    """They are not the same as fields left out; a list is given item by item."""
    got: list[CreateFields] = []

    def show(*, fields: CreateFields) -> None:
        got.append(fields)

    _run(show, "--no-is-premium", "--hwid-limit=0", "--hwids=a", "--hwids=b")
    assert got == [{"is_premium": False, "hwid_limit": 0, "hwids": ["a", "b"]}]


@pytest.mark.parametrize(
    ("command", "fields"),
    [("list", Filters), ("export", Filters), ("create", CreateFields), ("update", UpdateFields)],
)
def test_every_field_has_an_option_with_help(command: str, fields: type) -> None:
    """The names are the API's, and every field says what it is."""
    out = invoke("keys", command, "--help").out
    for name, (_, text) in read_fields(fields).items():
        assert f"--{name.replace('_', '-')} " in out
        assert text.endswith(".")


@pytest.mark.parametrize("text", ["2026-12-01", "20261201", "2026-W49-2"])
def test_a_date_is_midnight_utc(text: str) -> None:
    """A date has no time of its own, and the machine's zone does not matter."""
    assert parse_time(text) == datetime(2026, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2026-12-01T12:00", "12:00", "2026-12", "2026-02-30", "", "now"])
def test_a_time_without_an_offset_is_refused(text: str) -> None:
    """It would be a guess whose time is meant."""
    with pytest.raises(typer.BadParameter):
        parse_time(text)
