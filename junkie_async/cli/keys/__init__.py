"""`junkie keys`: everything the API does with keys."""

import typer

from .. import export
from . import delete, update
from .create import create, jobs, provision
from .get import find, get, verify
from .list import count, folders, list_keys

__all__ = ["app", "folders", "jobs"]

app: typer.Typer = typer.Typer(
    name="keys",
    help="Create, list, check, change and delete keys.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.command("list")(list_keys)
app.command()(get)
app.command()(find)
app.command()(verify)
app.command()(count)
app.command()(create)
app.command()(provision)
app.command()(update.update)
app.command()(update.invalidate)
app.command()(update.revalidate)
app.command("reset-hwid")(update.reset_hwid)
app.command()(delete.delete)
app.command()(delete.purge)
app.command()(export.export)
