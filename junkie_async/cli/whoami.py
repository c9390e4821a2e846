"""`junkie whoami`: whether the address and the API key work, and if not, what is wrong."""

import asyncio
import time

import attrs
import typer

from .. import (
    APIError,
    AuthenticationError,
    ConnectError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    TransportError,
)
from ._client import connect
from ._exit_codes import describe_error, get_exit_code
from ._exits import ExitCode, fail
from ._options import JSONOption, spread_options
from ._settings import Settings
from ._stdout import format_key_count, is_terminal, print_json, print_line, to_one_line

_MIN_SHOWN_KEY = 16  # characters, as for key values
_TIMEOUT = 10.0  # seconds; somebody waits for the answer
_ONCE = RetryPolicy(attempts=1, outage=0.0)

_WRONG_ADDRESS = "Check the address: that of the service ends in /api/v2."

_ADVICE: tuple[tuple[type[JunkieError], str], ...] = (
    (
        AuthenticationError,
        "Check the API key: it may be revoked, incomplete, or of another account.",
    ),
    (PermissionDeniedError, "Give the API key the scope rest-api:*, or use one that has it."),
    (NotFoundError, _WRONG_ADDRESS),
    (InvalidResponseError, _WRONG_ADDRESS),
    (RateLimitError, "The API key is used too much at the moment. Try again later."),
    (ServerError, "The service fails. That says nothing about the API key. Try again later."),
    (
        ConnectError,
        "Check the address, and this machine's network, DNS and proxy. The API key was not sent.",
    ),
    (TransportError, "The service, or a proxy before it, does not answer. Try again later."),
)


@attrs.define(kw_only=True)
class _Check:
    """What is known about the access; what is None was not found out."""

    base_url: str | None = None
    base_url_from: str
    api_key: str
    api_key_from: str
    keys: int | None = None
    milliseconds: int | None = None
    error: str | None = None
    advice: str | None = None


@spread_options
def whoami(context: typer.Context, *, output: JSONOption) -> None:
    """Check the address, the API key and its scope with one request.

    The request changes nothing. Shows which address and API key are used, where they come from,
    and how many keys the API key can read. If something is wrong, it says what, and what to do;
    the exit code is then 2 for the configuration, 3 for a refusal by the service, and 4 for a
    service that can't be reached.
    """
    settings: Settings = context.obj
    api_key = settings.find_api_key()
    check = _Check(
        base_url_from=settings.base_url_source,
        # The first characters tell keys apart. Of a short key they would be most of it.
        api_key=f"{api_key[:4]}…" if len(api_key) >= _MIN_SHOWN_KEY else "…",
        api_key_from=settings.api_key_source,
    )
    exit_code = 0
    try:
        asyncio.run(_read_page(settings, api_key, check))
    except JunkieError as error:
        check.error, check.advice = describe_error(error), _advise(error)
        check.base_url = check.base_url or _find_address(settings)
        exit_code = get_exit_code(error)
    except KeyboardInterrupt:
        fail("stopped", ExitCode.STOPPED)
    _show(check, as_json=output.json)
    if exit_code:
        raise typer.Exit(exit_code)


async def _read_page(settings: Settings, api_key: str, check: _Check) -> None:
    async with connect(settings, api_key=api_key, retry=_ONCE, timeout=_TIMEOUT) as junkie:
        check.base_url, started = junkie.base_url, time.perf_counter()
        page = await junkie.keys.list(limit=1)
        check.milliseconds = round((time.perf_counter() - started) * 1000)
    check.keys = page.pagination.total


def _find_address(settings: Settings) -> str | None:
    """Return the address if it is a good one: a bad API key ends the check before that."""
    try:
        return JunkieClient("any", base_url=settings.base_url).base_url
    except JunkieError:
        return None


def _show(check: _Check, *, as_json: bool) -> None:
    if as_json:
        print_json({"ok": check.error is None, **attrs.asdict(check)})
        return
    keys = "" if check.keys is None else f"{format_key_count(check.keys)}, "
    rows = (
        ("Address", f"{check.base_url or '-'} ({check.base_url_from})"),
        ("API key", f"{check.api_key} ({check.api_key_from})"),
        ("Access", "failed" if check.error else f"ok: {keys}{check.milliseconds} ms"),
    )
    for name, text in rows:
        start = f"{name:7}  " if is_terminal() else f"{name}\t"
        print_line(f"{start}{to_one_line(text)}")
    if check.error is not None:
        typer.echo(f"Error: {to_one_line(check.error)}", err=True)
    if check.advice is not None:
        typer.echo(check.advice, err=True)


def _advise(error: JunkieError) -> str | None:
    """Say what to do about an error; None where its message says that itself."""
    if isinstance(error, APIError) and error.challenge:
        return (
            "The CDN in front of the service refuses this machine. That says nothing about the API"
            " key. Try another network, or ask the service to admit this one."
        )
    if isinstance(error, ConnectError) and not error.transient:
        return "Nothing was sent, so the API key was not checked."  # TLS, or a proxy that refuses
    return next((text for kind, text in _ADVICE if isinstance(error, kind)), None)
