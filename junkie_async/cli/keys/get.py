"""`junkie keys get`, `find` and `verify`: one key."""

from typing import Annotated

import typer

from ... import JunkieClient, KeyDetailed, NotFoundError
from .._client import run_with_client
from .._exit_codes import describe_error
from .._exits import ExitCode, fail
from .._key_arguments import KeyValue, OneKey, suggest_id
from .._key_output import mask_key, print_key
from .._options import JSONOption, ViewOptions, spread_options
from .._stdout import print_json, print_line


@spread_options
def get(context: typer.Context, *, key: OneKey, view: ViewOptions) -> None:
    """Show one key with all its fields.

    These include its redemption on Discord. The value is masked unless --show-values is given.
    The exit code is 1 when there is no such key.
    """
    reference = key.read_reference()

    async def fetch(junkie: JunkieClient) -> KeyDetailed:
        try:
            return await junkie.keys.get(reference)
        except NotFoundError as error:
            fail(suggest_id(reference) or describe_error(error), ExitCode.NEGATIVE)

    print_key(run_with_client(context, fetch), view)


@spread_options
def find(context: typer.Context, *, key: KeyValue, view: ViewOptions) -> None:
    """Find the key with this whole value.

    If there is none, looks again without blanks and quotes around the value. The exit code is 1
    when there is none either.
    """
    value = key.read_value()
    found = run_with_client(context, lambda junkie: junkie.keys.find(value))
    if found is None:
        hint = suggest_id(value)
        advice = f"{hint} to `junkie keys get`" if hint else "no key has this value"
        fail(advice, ExitCode.NEGATIVE)
    print_key(found, view)


@spread_options
def verify(
    context: typer.Context,
    *,
    key: KeyValue,
    hwid: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Device that the key is used on.")
    ] = None,
    discord_id: Annotated[str | None, typer.Option(metavar="ID", help="User's Discord ID.")] = None,
    service_id: Annotated[
        int | None, typer.Option(metavar="ID", help="Service that the key must unlock.")
    ] = None,
    premium: Annotated[bool, typer.Option("--premium", help="Require a premium key.")] = False,
    output: JSONOption,
) -> None:
    """Check whether a key may be used, and if not, why.

    The exit code is 0 when it may, and 1 when it may not. A service that can't be reached, or that
    refuses the API key, gives no verdict: the exit code is then 4 or 3.
    """
    value = key.read_value()
    verdict = run_with_client(
        context,
        lambda junkie: junkie.keys.verify(
            value,
            hwid=hwid,
            discord_id=discord_id,
            service_id=service_id,
            premium=premium or None,  # None makes no claim; False would require a standard key
        ),
    )
    if output.json:
        masked = verdict.key and mask_key(verdict.key, ViewOptions())
        print_json(
            {"valid": verdict.valid, "reason": verdict.reason, "key": masked and masked.to_dict()}
        )
    else:
        print_line("valid" if verdict else f"not valid: {verdict.reason}")
    if not verdict:
        raise typer.Exit(ExitCode.NEGATIVE)
