"""Where log lines go: to the program's handlers, else to stderr; ``$JUNKIE_LOG`` asks for more.

Servers and bots rarely configure logging for libraries. Warnings then reach Python's handler of
last resort, which writes them to stderr.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Final, TextIO

_log = logging.getLogger("junkie_async")

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO}

_REPEAT_AFTER: Final = 60.0  # seconds


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes lines to stderr, unless another handler does."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        others = {*_log.handlers, *logging.root.handlers} - {self}
        if not any(_writes_to_stderr(other, record.levelno) for other in others):
            self.stream = sys.stderr  # a progress bar, or a test, may have replaced it
            super().emit(record)


def _writes_to_stderr(handler: logging.Handler, level: int) -> bool:
    return getattr(handler, "stream", None) is sys.stderr and level >= handler.level


class _RepeatFilter(logging.Filter):
    """Drops a line that was written less than a minute ago, if no handler is configured.

    An outage would otherwise fill a server's stderr with a line for each request.
    """

    def __init__(self) -> None:
        super().__init__()
        self._written: dict[tuple[str, object], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is to be written."""
        if logging.getLogger(record.name).hasHandlers():
            return True
        now, cause = record.created, (record.getMessage(), (record.exc_info or [None])[0])
        # Two bounds: somebody may have set the clock back.
        recent = {line: at for line, at in self._written.items() if 0 <= now - at < _REPEAT_AFTER}
        self._written = {cause: now} | recent
        return cause not in recent


_stderr_handler = _StderrHandler()
_stderr_handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
_repeat_filter = _RepeatFilter()
# A filter holds for its own logger only, not for those below it.
for _name in ("junkie_async", "junkie_async.ext", "junkie_async.ext.discord"):
    logging.getLogger(_name).addFilter(_repeat_filter)


def configure_log() -> int:
    """Switch the lines about requests on or off, as ``$JUNKIE_LOG`` says, and return their level.

    It is ``debug``, ``info``, or not set. Without it the lines are at level DEBUG, and nothing
    else changes.
    """
    # When a client is made, not when this is imported: programs load their .env files in between.
    name = os.environ.get("JUNKIE_LOG", "").strip().lower()
    level = _LEVELS.get(name, logging.NOTSET)
    if level:
        _log.addHandler(_stderr_handler)
        _log.setLevel(level)
    elif _stderr_handler in _log.handlers:
        _log.removeHandler(_stderr_handler)
        _log.setLevel(logging.NOTSET)
    if name and not level:
        _log.warning("$JUNKIE_LOG must be debug or info: it is ignored")
    return level or logging.DEBUG
