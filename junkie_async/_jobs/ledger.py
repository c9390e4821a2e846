"""A job's journal on a record that survives whatever ends the process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from .._errors import ConfigurationError, JunkieError, Outcome
from .journal import Intent, Journal
from .key_hashes import LoggedValues, SeenValues
from .key_log import KeyLog
from .markers import make_marker, read_number
from .record import DamagedError, LoadedJob, Record

_GONE: Final = (
    "the job is no longer in its ledger, or was begun there anew: it was pruned or deleted while"
    " this worker ran it"
)


class Ledger(Journal):
    """A journal on a record, which one worker at a time may write.

    The arguments are what distinguishes the job from others. ``marker`` is the markers' prefix.
    Key values that don't fit in memory go to a file without a name in ``folder``.
    """

    is_durable: bool = True

    def __init__(
        self,
        record: Record,
        arguments: Mapping[str, Any],
        marker: str | None,
        *,
        folder: Path | None = None,
    ) -> None:
        super().__init__()
        self._record = record
        self.can_lose_writer: bool = record.has_lease
        self._arguments = {**arguments, "marker": marker}
        self._prefix = marker
        self._folder = folder
        self._is_recorded = False  # whether the record is known to have the job
        self._start_empty()

    def _start_empty(self) -> None:
        self.created: int = 0
        self._next_number = 0
        self.result: bytes | None = None
        self.open_intents: dict[int, Intent] = {}
        self.suspects: dict[str, Intent] = {}
        self.doubted_for: float = 0.0
        """Seconds since the outcome of the latest open call became unknown, when it was loaded."""
        self._job_id = ""
        self._key_log = KeyLog(self._folder)
        self.seen: SeenValues = LoggedValues(self._key_log.find)
        self._earlier_blocks = 0

    def snapshot_keys(self) -> tuple[int, Callable[[], tuple[str, ...]]]:
        """Return how many key values are logged, and a function that reads these from the log."""
        return self._key_log.length, partial(self._key_log.read_first, self._key_log.length)

    async def open(self) -> None:
        """Become the job's writer, and resume where its record ends."""
        state = vars(self).copy()
        self._start_empty()
        try:
            with unsettled():
                loaded = await self._record.open(self._arguments, self._add_earlier_keys)
                self._resume(loaded, state["_job_id"])
        except BaseException:
            with suppress(JunkieError):
                await self._record.close()
            vars(self).update(state)  # the job's report still has what this worker did before
            raise

    def _resume(self, loaded: LoadedJob, earlier_id: str) -> None:
        if self._is_recorded and loaded.id != earlier_id:
            raise ConfigurationError(_GONE)
        self._job_id, self.result = loaded.id, loaded.result
        self._is_recorded = self._is_recorded or bool(loaded.calls)
        self.begun: float | None = loaded.begun
        self.created, self._next_number = loaded.created, loaded.calls
        self._earlier_blocks = self._key_log.end_block()
        for found in loaded.intents:
            marker = self._marker_of(found.number)
            intent = Intent(found.number, found.outstanding, marker, in_doubt=found.is_open)
            if found.is_open:
                self.open_intents[found.number] = intent
            if marker is not None:
                self.suspects[marker] = intent
        self.doubted_for = min(
            (one.doubted_for for one in loaded.intents if one.is_open), default=0
        )

    async def close(self) -> None:
        """Flush and close, and let others write, even if the caller is cancelled."""
        await self._record.close()

    async def replay(self) -> AsyncGenerator[Sequence[str], None]:
        """Yield the key values that earlier runs have logged, 100 at a time."""
        for number in range(self._earlier_blocks):
            for keys in self._key_log.read(number):
                yield keys

    async def log_intents(self, amounts: Sequence[int]) -> list[Intent]:
        """Open an intent for each amount of keys. Their calls may be sent after this returns."""
        intents = await super().log_intents(amounts)
        self._record.log_intents([(intent.number, intent.outstanding) for intent in intents])
        # The sync must come before the send. Otherwise a crash loses the marker of a call that was
        # carried out, and with it the keys: `test_a_job_that_sends_before_it_logs_loses_keys`.
        with unsettled() if self.can_lose_writer else nullcontext():  # others may have begun it
            await self.sync()
        return intents

    def log_result(
        self, intent: Intent, keys: Collection[str], *, final: bool, result: bytes | None = None
    ) -> bool:
        """Log keys of an intent, and close the intent if nothing more can come of it."""
        if not self.seen.add_all(keys):
            return False
        self._update_intent(intent, keys, final=final)
        self._key_log.append(keys)
        self._record.log_keys(intent.number, keys, final=final, result=result)
        self.result = result or self.result
        return True

    async def sync(self) -> None:
        """Wait until everything logged so far is durable."""
        await self._record.sync()
        self._is_recorded = True

    async def wait_until_writer(self) -> None:
        """Wait as long as it is unsure whether this worker may send calls."""
        await self._record.wait_until_writer()

    def check_writer(self) -> None:
        """Raise LeaseLostError unless this worker may send a call at this moment."""
        self._record.check_writer()

    def find_intent(self, marker: str) -> int | None:
        """Return the number of the intent that has this marker, or None if none of the job has."""
        number = read_number(marker, self._prefix or "", self._job_id)
        return None if number is None or number >= self._next_number else number

    def _marker_of(self, number: int) -> str | None:
        return None if self._prefix is None else make_marker(self._prefix, self._job_id, number)

    def _add_earlier_keys(self, keys: Sequence[str]) -> None:
        # Never written by us. Given to the consumer, such keys would count as keys of theirs.
        if "" in keys or not self.seen.add_all(keys):
            raise DamagedError
        self._key_log.append(keys)


@contextmanager
def unsettled() -> Generator[None]:
    """Let errors say that the outcome is unknown: earlier calls may have created keys."""
    try:
        yield
    except JunkieError as error:
        error.outcome = Outcome.UNKNOWN
        raise
