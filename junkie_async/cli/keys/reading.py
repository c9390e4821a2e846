"""`junkie keys get`, `find` and `verify`."""

from typing import Annotated

import typer

from .._client import run
from .._options import JSONOption, ViewOptions, spread
from .._output import ExitCode, fail, say
from .._references import OneKey, ValueOnly
from .._view import key_record, print_json, print_key


@spread
def get(context: typer.Context, *, key: OneKey, view: ViewOptions) -> None:
    """Show one key with all its fields.

    Its redemption on Discord is among them. The value is masked, unless --show-values is given.
    """
    reference = key.reference()
    print_key(run(context, lambda junkie: junkie.keys.get(reference)), view)


@spread
def find(context: typer.Context, *, key: ValueOnly, view: ViewOptions) -> None:
    """Find the key whose value is exactly this one.

    Exit code 1 says that there is none.
    """
    value = key.text()
    found = run(context, lambda junkie: junkie.keys.find(value))
    if found is None:
        fail("no key has this value", ExitCode.WRONG)
    print_key(found, view)


@spread
def verify(
    context: typer.Context,
    *,
    key: ValueOnly,
    hwid: Annotated[str | None, typer.Option(help="The device that it is used on.")] = None,
    discord_id: Annotated[str | None, typer.Option(help="Who uses it, on Discord.")] = None,
    service_id: Annotated[int | None, typer.Option(help="What it is used for.")] = None,
    premium: Annotated[bool, typer.Option("--premium", help="It has to be premium.")] = False,
    output: JSONOption,
) -> None:
    """Tell whether a key may be used, and if not, why.

    Exit code 0 says that it may, and 1 that it may not. A service that is out of reach, or that
    says no to us, is neither: that gives 4 or 3, and no verdict.
    """
    value = key.text()
    verdict = run(
        context,
        lambda junkie: junkie.keys.verify(
            value,
            hwid=hwid,
            discord_id=discord_id,
            service_id=service_id,
            premium=premium or None,
        ),
    )
    if output.json:
        shown = verdict.key and key_record(verdict.key, ViewOptions())
        print_json({"valid": verdict.valid, "reason": verdict.reason, "key": shown})
    else:
        say("valid" if verdict else f"not valid: {verdict.reason}")
    if not verdict:
        raise typer.Exit(ExitCode.WRONG)
