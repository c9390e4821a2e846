"""`junkie keys get` and `find`."""

import typer

from .._exit_codes import ExitCode, fail
from .._key_arguments import KeyValue, OneKey
from .._key_output import print_key
from .._options import ViewOptions, spread_options
from .._runner import run_with_client


@spread_options
def get(context: typer.Context, *, key: OneKey, view: ViewOptions) -> None:
    """Show one key with all its fields.

    These include its redemption on Discord. The value is masked unless --show-values is given.
    """
    reference = key.read_reference()
    print_key(run_with_client(context, lambda junkie: junkie.keys.get(reference)), view)


@spread_options
def find(context: typer.Context, *, key: KeyValue, view: ViewOptions) -> None:
    """Find the key with exactly this value.

    The exit code is 1 when there is none.
    """
    value = key.read_value()
    found = run_with_client(context, lambda junkie: junkie.keys.find(value))
    if found is None:
        fail("no key has this value", ExitCode.NEGATIVE)
    print_key(found, view)
