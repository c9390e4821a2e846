"""What a client leaves behind that nobody has closed: it is closed, and the client is named."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Mapping
from typing import Any


def warn_unclosed(base_url: str, sessions: Mapping[float, Any]) -> None:
    """Close the aiohttp sessions of a client that is gone, and warn in place of aiohttp.

    Its warnings name aiohttp's classes, which users of this package have never seen.
    """
    unclosed = [session for session in sessions.values() if not session.closed]
    if not unclosed:
        return
    loop: asyncio.AbstractEventLoop = unclosed[0]._loop  # noqa: SLF001 - has no public name
    for session in unclosed:
        connector = session.connector
        session.detach()
        _close(loop, connector)
    text = (
        f"unclosed JunkieClient of {base_url}: use `async with JunkieClient() as junkie`,"
        " or `await junkie.close()` at the end"
    )
    warnings.warn(text, ResourceWarning, stacklevel=2)
    loop.call_exception_handler({"message": text})  # programs show it, unlike the warning


def _close(loop: asyncio.AbstractEventLoop, connector: Any) -> None:
    close = connector._close  # noqa: SLF001 - `close` returns what somebody would have to await
    if loop.is_running():
        loop.call_soon_threadsafe(close)  # garbage may be collected in any thread
    else:
        close()
