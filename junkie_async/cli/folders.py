"""`junkie folders`: where keys are filed."""

import typer

from ._client import run
from ._options import JSONOption, spread
from ._view import print_json, print_table


@spread
def folders(context: typer.Context, *, output: JSONOption) -> None:
    """List the folders that keys are filed in."""
    found = run(context, lambda junkie: junkie.keys.folders())
    if output.json:
        for folder in found:
            print_json(folder)
        return
    rows = [
        (str(folder.id), folder.name, f"{folder.created_at:%Y-%m-%d}" if folder.created_at else "")
        for folder in found
    ]
    print_table(("ID", "Name", "Created"), rows)
