"""`junkie keys`: everything the API does with keys."""

import typer

from .. import export
from . import create, delete, get, stats, update
from . import list as list_and_count

__all__ = ["app"]

app: typer.Typer = typer.Typer(
    name="keys",
    help="Create, list, check, change and delete keys.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

app.command("list")(list_and_count.list_keys)
for _command in (get.get, get.find, get.verify, list_and_count.count, stats.stats):
    app.command()(_command)
for _command in (create.create, create.provision):
    app.command()(_command)
for _command in (update.update, update.invalidate, update.revalidate, update.reset_hwid):
    app.command()(_command)
for _command in (delete.delete, delete.purge, export.export):
    app.command()(_command)
