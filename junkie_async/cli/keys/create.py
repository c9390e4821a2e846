"""`junkie keys create`."""

import typer

from ... import CreateFields
from .._options import JSONOption, Provider, spread_options
from .._runner import run_with_client
from .._stdout import is_terminal, print_json, print_line, set_encoding
from .._text import remove_controls


@spread_options
def create(
    context: typer.Context, *, provider_id: Provider, fields: CreateFields, output: JSONOption
) -> None:
    """Create one key and print its value.

    The value, in full, is all that goes to stdout. With --json it is the complete key.
    """
    key = run_with_client(
        context, lambda junkie: junkie.keys.create(provider_id=provider_id, **fields)
    )
    if output.json:
        print_json(key)
    else:
        set_encoding()
        print_line(remove_controls(key.key_value) if is_terminal() else key.key_value)
    typer.echo(f"1 key created, with the ID {key.id}", err=True)
