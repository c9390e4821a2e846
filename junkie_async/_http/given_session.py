"""What a session that the caller has passed in asks for, beyond what one of our own does."""

from __future__ import annotations

import asyncio
from typing import Any

from yarl import URL

from .._errors import ClientClosedError, JunkieError, Outcome, RequestTimeoutError


def check_open(session_or_connector: Any) -> None:
    """Raise ClientClosedError if the session, or its connector, is closed."""
    if session_or_connector.closed:
        raise ClientClosedError("the aiohttp session passed as session= is closed")


async def wait_for_turn(connector: Any, key: object) -> None:
    """Wait until the connector may open a connection, after the requests that wait already.

    aiohttp does that within its time-out for connecting. It has no public name for the wait.
    """
    count_available = getattr(connector, "_available_connections", None)
    wait = getattr(connector, "_wait_for_available_connection", None)
    if count_available is None or wait is None:  # another aiohttp, whose time-out counts the wait
        return
    # An idle connection is taken even if all others are in use.
    if count_available(key) > 0 or key in getattr(connector, "_conns", ()):
        return
    try:
        await wait(key, [])
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if not connector.closed or (task is not None and task.cancelling()):
            raise
    check_open(connector)  # closing it cancels the waits, not the tasks


def make_queue_error() -> JunkieError:
    """Return the error of a call that ends while it waits for its turn."""
    return RequestTimeoutError(
        "timed out waiting for a free connection of session= (the limit of its connector)",
        outcome=Outcome.NOT_EXECUTED,
    )


def describe_credentials(session: Any, url: URL) -> str | None:
    """Say which credentials of a session that was passed in would replace the API key, if any."""
    origin = getattr(session, "_base_url_origin", None)
    if session.auth is not None and origin in (None, url.origin()):
        return "the session passed as session= has credentials of its own: create it without auth="
    entry = session.trust_env and session._get_netrc_auth(url.host)  # noqa: SLF001 - as it does
    if entry:
        return (
            f"the session passed as session= takes credentials for {url.host} from .netrc:"
            " remove that entry, or create the session without trust_env=True"
        )
    return None
