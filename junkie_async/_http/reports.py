"""What hooks and the log are told of a call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from .._errors import JunkieError
from .._hooks import AttemptEvent, Hooks, RetryEvent, notify_hooks
from .._protocol.request_ids import read_request_id
from .api_key import APIKey
from .call_state import CallState
from .log_output import configure_log

_log = logging.getLogger("junkie_async")


class Reports:
    """Notifies the hooks of a client, and writes its log lines."""

    def __init__(self, hooks: Sequence[Hooks], base_url: str) -> None:
        self._hooks = hooks
        self._base_url = base_url
        self._line_level = configure_log()

    def report_attempt(
        self,
        call: CallState[Any],
        result: int | str,
        begin: float,
        loop: asyncio.AbstractEventLoop,
        api_key: APIKey,
    ) -> None:
        """Report an attempt that has ended with an HTTP status, or with an error's class name."""
        if not self._hooks and not _log.isEnabledFor(self._line_level):
            return
        seconds = loop.time() - begin
        method, path = call.request.method, call.request.path
        request_id = read_request_id(call.request, call.headers, *api_key.known)
        shown = f", request ID {request_id}" if request_id else ""
        line = "%s %s: %s, attempt %d, %.1f ms%s"
        _log.log(self._line_level, line, method, path, result, call.attempts, seconds * 1e3, shown)
        event = AttemptEvent(
            method=method,
            path=path,
            url=self._base_url + path,
            attempt=call.attempts,
            seconds=seconds,
            status=result if isinstance(result, int) else None,
            error=result if isinstance(result, str) else None,
            request_id=request_id,
        )
        notify_hooks(self._hooks, event)

    def report_retry(self, call: CallState[Any], failure: JunkieError, seconds: float) -> None:
        """Report that a call is about to be sent again, so many seconds after it failed."""
        event = RetryEvent(
            method=call.request.method,
            path=call.request.path,
            attempt=call.attempts + 1,
            seconds=seconds,
            error=failure,
        )
        notify_hooks(self._hooks, event)
