"""`junkie folders`: the folders that keys can be filed in."""

import typer

from ._client import run_with_client
from ._options import JSONOption, spread_options
from ._stdout import print_json, print_table


@spread_options
def folders(context: typer.Context, *, output: JSONOption) -> None:
    """List the folders that keys can be filed in."""
    found = run_with_client(context, lambda junkie: junkie.keys.folders())
    if output.json:
        for folder in found:
            print_json(folder)
        return
    rows = [
        (str(folder.id), folder.name, f"{folder.created_at:%Y-%m-%d}" if folder.created_at else "")
        for folder in found
    ]
    print_table(("ID", "Name", "Created"), rows)
