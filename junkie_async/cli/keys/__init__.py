"""`junkie keys`: everything the API does with keys."""

import typer

from .. import export
from . import create, delete, get, provision, update, verify
from . import list as list_and_count

__all__ = ["app"]

app: typer.Typer = typer.Typer(
    name="keys",
    help="Create, list, check, change and delete keys.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.command("list")(list_and_count.list_keys)
app.command()(get.get)
app.command()(get.find)
app.command()(verify.verify)
app.command()(list_and_count.count)
app.command()(create.create)
app.command()(provision.provision)
app.command()(update.update)
app.command()(update.invalidate)
app.command()(update.revalidate)
app.command("reset-hwid")(update.reset_hwid)
app.command()(delete.delete)
app.command()(delete.purge)
app.command()(export.export)
