"""`UpdateJob` and `ResetHWIDJob`: one call for each of any number of keys."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from typing import Any, Final, TypeAlias, cast
from weakref import WeakValueDictionary

from .._errors import (
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    InvalidRequestError,
    InvalidResponseError,
    JunkieError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TransportError,
)
from .._hooks import Hooks, RequestStatus, StatusCallback
from .._masking import clear_frames
from .._models import ActionResult, KeyRef
from .._protocol.fields import UpdateFields, declared_fields, validate_fields
from .._validation import safe_repr
from .job import Job, OnProgress
from .key_hashes import KeyHashes
from .key_references import check_key, check_keys, check_source
from .outcomes import MAX_OUTCOMES, KeyOutcome, OutcomeStatus, UpdateReport

KeyOrPair: TypeAlias = KeyRef | tuple[KeyRef, UpdateFields]
"""What `Keys.update_many` takes: a key, or a pair of a key and its fields."""

Change: TypeAlias = tuple[int | str, Mapping[str, Any]]
"""A key and its validated fields."""

_OF_EVERY_KEY: Final = (AuthenticationError, ClientClosedError, ConfigurationError)
_OF_MANY_KEYS: Final = (
    InvalidResponseError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TransportError,
)
"""One key may meet them alone. When several do in a row, all others would."""


class UpdateJob(Job[Change, KeyOutcome, UpdateReport]):
    """Updates keys, in one call for each. Yields each `KeyOutcome` as it arrives.

    A key that is refused or does not exist does not end the job. It ends early when every other
    key would fail as well: the API key is refused, or all calls in flight fail in a row, because
    the service has been failing for as long as `RetryPolicy.outage` allows, or because the API key
    lacks the permission for each of the first keys. Fewer keys than that end it if all fail so.

    Several pairs with the same key are sent one after the other, in the order in which they come.
    """

    name = "update_many"
    method = "PUT"
    """That of its calls, which an error of a look-up before them names."""

    def __init__(
        self,
        keys: Iterable[KeyOrPair] | AsyncIterable[KeyOrPair],
        send: Callable[[int | str, Mapping[str, Any], StatusCallback], Awaitable[ActionResult]],
        *,
        fields: Mapping[str, Any] | None,
        concurrency: int,
        on_progress: OnProgress | None = None,
        hooks: Collection[Hooks] = (),
        unique: bool = False,
    ) -> None:
        self._keys, self._check_item = _check_source(keys, fields)
        self._total = len(keys) if isinstance(keys, Collection) else None
        self._send = send
        # 18 bytes a key in a large job. None if there are no repeats to be dropped.
        self._seen = None if unique or fields is None else KeyHashes()
        self._read = self._repeated = 0
        self._counts = Counter[OutcomeStatus]()
        self._not_done: list[KeyOutcome] = []
        self._failures_in_a_row = 0  # since a call was answered as if for its key alone
        self._has_answers = False
        self._last_failure: JunkieError | None = None
        self._locks = WeakValueDictionary[int | str, asyncio.Lock]()
        super().__init__(concurrency=concurrency, on_progress=on_progress, hooks=hooks)

    @property
    def report(self) -> UpdateReport:
        """What the job has done so far; final after the job has ended."""
        requested, counts = self._read - self._repeated, self._counts
        done, not_found = counts[OutcomeStatus.DONE], counts[OutcomeStatus.NOT_FOUND]
        unknown = counts[OutcomeStatus.UNKNOWN]
        return UpdateReport(
            requested=requested,
            done=done,
            not_found=not_found,
            failed=requested - done - not_found - unknown,
            unknown=unknown,
            outcomes=tuple(self._not_done),
        )

    async def _make_chunks(self) -> AsyncGenerator[Change, None]:
        if isinstance(self._keys, AsyncIterable):
            async for item in self._keys:
                if (change := self._read_item(item)) is not None:
                    yield change
            return
        for item in self._keys:
            if (change := self._read_item(item)) is not None:
                yield change

    def _read_item(self, item: Any) -> Change | None:
        """Check what the iterable gives. None if the key is a repeated one."""
        change = self._check_item(self._read, item)
        self._read += 1
        # No key value has a control character: 5 and "5" are two keys.
        key = change[0] if isinstance(change[0], str) else f"\0{change[0]}"
        if self._seen is not None and not self._seen.add_new([key]):
            self._repeated += 1
            return None
        return change

    async def _process_chunk(self, chunk: Change, on_status: StatusCallback) -> KeyOutcome:
        key, fields = chunk
        # Two pairs with the same key must not be in flight together: the last one is to hold.
        async with self._locks.setdefault(key, asyncio.Lock()):
            return await self._process_key(key, fields, on_status)

    async def _process_key(
        self, key: int | str, fields: Mapping[str, Any], on_status: StatusCallback
    ) -> KeyOutcome:
        latest = RequestStatus.NOT_EXECUTED

        def track_status(status: RequestStatus) -> None:
            nonlocal latest
            latest = status
            on_status(status)

        try:
            result = await self._send(key, fields, track_status)
        except JunkieError as error:
            failure = error
        except asyncio.CancelledError:
            if latest is not RequestStatus.NOT_EXECUTED:
                self._count_outcome(KeyOutcome(key=key, status=OutcomeStatus.UNKNOWN))
            raise
        else:
            self._failures_in_a_row, self._has_answers = 0, True
            return self._count_outcome(
                KeyOutcome(key=key, status=OutcomeStatus.DONE, result=result)
            )
        # Also where the same call may simply be made again. A look-up has no status.
        self._is_in_doubt |= latest is not RequestStatus.NOT_EXECUTED
        return self._process_failure(key, failure)

    def _process_failure(self, key: int | str, failure: JunkieError) -> KeyOutcome:
        # Nobody raises it. Its frames would be kept along with it.
        clear_frames(failure)
        failure.__traceback__ = None
        if failure.__cause__ is not None:
            failure.__cause__.__traceback__ = None
        if self._ends_job(failure) and self._pool is not None:
            self._pool.stop(failure)
        return self._count_outcome(KeyOutcome(key=key, status=_status_of(failure), error=failure))

    def _count_outcome(self, outcome: KeyOutcome) -> KeyOutcome:
        self._counts[outcome.status] += 1
        if outcome.status is not OutcomeStatus.DONE and len(self._not_done) < MAX_OUTCOMES:
            self._not_done.append(outcome)
        return outcome

    def _ends_job(self, failure: JunkieError) -> bool:
        """Decide whether all other keys would fail as well."""
        if isinstance(failure, _OF_EVERY_KEY):
            return True
        if self._is_of_one_key(failure):
            self._failures_in_a_row, self._has_answers = 0, True
            return False
        self._failures_in_a_row += 1
        self._last_failure = failure
        # A restart of the service fails all resets in flight. After an outage that was waited
        # out, the next calls would take as long again; with one worker, it may be the key's fault.
        is_unknown = isinstance(failure, OutcomeUnknownError)
        most = 2 * self._concurrency if is_unknown else max(2, self._concurrency)
        return self._failures_in_a_row >= most

    def _is_of_one_key(self, failure: JunkieError) -> bool:
        if isinstance(failure, PermissionDeniedError) and not failure.challenge:
            return self._has_answers  # other keys may be changed
        return not isinstance(failure, _OF_MANY_KEYS)

    def _find_failure(self) -> JunkieError | None:
        failure, self._last_failure = self._last_failure, None
        # Of an unknown outcome the report is enough: it was not waited out, and others may differ.
        if isinstance(failure, OutcomeUnknownError):
            return None
        return failure if self._failures_in_a_row == self._counts.total() else None

    def _count_done(self) -> tuple[int, int | None]:
        total = None if self._total is None else self._total - self._repeated
        return self._counts.total(), total


class ResetHWIDJob(UpdateJob):
    """Unbinds all devices from keys, in one call for each. Yields each `KeyOutcome` as it arrives.

    It ends early when `UpdateJob` does, and when twice as many calls in a row as may be in flight
    have an unknown outcome.
    """

    name = "reset_hwid_many"
    method = "POST"


def _status_of(failure: JunkieError) -> OutcomeStatus:
    if isinstance(failure, NotFoundError):
        return OutcomeStatus.NOT_FOUND
    is_unknown = isinstance(failure, OutcomeUnknownError)
    return OutcomeStatus.UNKNOWN if is_unknown else OutcomeStatus.FAILED


def _check_source(
    keys: Iterable[KeyOrPair] | AsyncIterable[KeyOrPair], fields: Mapping[str, Any] | None
) -> tuple[Iterable[Any] | AsyncIterable[Any], Callable[[int, Any], Change]]:
    """Check a collection before anything is sent; return what to read, and how to check an item."""
    if fields is not None:
        check_keys(keys)
        return keys, lambda index, key: (check_key(index, key), fields)
    check_source(keys, "pairs of a key and its fields (of a dict, its items())")
    if not isinstance(keys, Collection):
        return keys, _check_pair
    # A copy: the HWIDs of a pair may be an iterator, and a second check would find none left.
    return [_check_pair(index, pair) for index, pair in enumerate(keys)], lambda _, pair: pair


def _check_pair(index: int, pair: Any) -> Change:
    name = f"keys[{index}]"
    parts = cast("Sequence[Any]", pair if isinstance(pair, tuple | list) else ())
    if len(parts) != 2:
        limit = "a pair of a key and its fields, since no fields are given for all keys"
        raise InvalidRequestError(name, safe_repr(cast("object", pair)), limit)
    key, fields = parts
    return check_key(index, key), _check_fields(name, fields)


def _check_fields(name: str, fields: Any) -> Mapping[str, Any]:
    limit = "a pair whose second part is a dict of at least one field"
    if not isinstance(fields, Mapping):
        raise InvalidRequestError(name, f"one with {safe_repr(fields)}", limit)
    given = cast("Mapping[str, Any]", fields)
    declared = declared_fields(UpdateFields)
    if unknown := [field for field in given if field not in declared]:
        limit = f"a pair whose fields are among {', '.join(declared)}"
        raise InvalidRequestError(name, f"one with {safe_repr(unknown[0])}", limit)
    try:
        validated = validate_fields(UpdateFields, "update_many", given)
    except InvalidRequestError as error:
        refused = error
    else:
        if not validated:
            raise InvalidRequestError(name, "one without", limit)
        return validated
    # Outside of the block, or the error without the key's index would hang on this one.
    raise InvalidRequestError(f"{name}.{refused.field}", refused.value, refused.limit)
