"""`junkie keys`: all that the API does with keys."""

import typer

from .. import export
from . import changing, creating, deleting, listing, reading

__all__ = ["app"]

app = typer.Typer(
    name="keys",
    help="Create, list, check, change and delete keys.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.command("list")(listing.list_keys)
app.command()(reading.get)
app.command()(reading.find)
app.command()(reading.verify)
app.command()(listing.count)
app.command()(creating.create)
app.command()(creating.provision)
app.command()(changing.update)
app.command()(changing.invalidate)
app.command()(changing.revalidate)
app.command("reset-hwid")(changing.reset_hwid)
app.command()(deleting.delete)
app.command()(deleting.purge)
app.command()(export.export)
