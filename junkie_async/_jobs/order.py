"""One key that is created once, however often and by however many processes it is ordered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TypeAlias

from .._errors import (
    ConfigurationError,
    JunkieError,
    Outcome,
    OutcomeUnknownError,
    RequestTimeoutError,
)
from .._models import Key
from .._protocol.codec import decode_key, encode_key
from .background import run_in_background
from .journal import Intent
from .ledger import Ledger, unsettled
from .markers import read_marker
from .reconcile import Reconciler
from .record import LeaseLostError

CreateMarked: TypeAlias = Callable[[str, Callable[[], None]], Awaitable[Key]]
"""Creates a key under a marker, and calls the function just before the request is sent."""


async def fill_order(
    ledger: Ledger,
    reconciler: Reconciler,
    create: CreateMarked,
    *,
    lock: asyncio.Lock,
    max_seconds: float | None,
) -> Key:
    """Create the key of an order, unless it has one.

    Calls of this process take turns by the ``lock``: that is faster than to ask the ledger. Another
    worker that fills the same order is waited for. A call of an earlier run whose outcome
    is unknown is settled first. ``reconciler`` logs what it adopts by `log_key`.

    Raises:
        OutcomeUnknownError: The key may have been created. The next call settles that.
    """
    # What it has to log when it is cancelled may wait for a ledger that hangs.
    filling = run_in_background(_fill_in_turn(ledger, reconciler, create, lock))
    ends_at = None if max_seconds is None else asyncio.get_running_loop().time() + max_seconds
    try:
        if await _has_ended(filling, ends_at):
            return await filling
        raise RequestTimeoutError(
            f"timed out after {max_seconds:g} s: another call fills this order, an earlier one is"
            " not settled yet, or the ledger or the service does not respond. Call again",
            outcome=Outcome.UNKNOWN,
        )
    finally:
        if not filling.done():
            filling.cancel()
            await _has_ended(filling, ends_at)


async def _has_ended(filling: asyncio.Task[Key], ends_at: float | None) -> bool:
    seconds = None if ends_at is None else ends_at - asyncio.get_running_loop().time()
    done, _ = await asyncio.wait({filling}, timeout=seconds)
    return bool(done)


async def _fill_in_turn(
    ledger: Ledger, reconciler: Reconciler, create: CreateMarked, lock: asyncio.Lock
) -> Key:
    async with lock:
        while True:
            with suppress(LeaseLostError):  # it is another worker's order now: wait for its key
                return await _fill_once(ledger, reconciler, create)


def log_key(ledger: Ledger, intent: Intent, keys: Sequence[Key]) -> bool:
    """Log the key of an order, if there is one, and close its intent."""
    values = [key.key_value for key in keys]
    result = encode_key(keys[0]) if keys else None
    return ledger.log_result(intent, values, final=True, result=result)


async def _fill_once(ledger: Ledger, reconciler: Reconciler, create: CreateMarked) -> Key:
    await ledger.open()
    try:
        with unsettled():
            if ledger.open_intents:
                reconciler.restart_delay(passed=ledger.doubted_for)
                await reconciler.reconcile(_ignore_wait)
                await ledger.sync()
            if ledger.result is not None:
                key = decode_key(ledger.result)
                await ledger.close()
                return key
        (intent,) = await ledger.log_intents([1])
        key = await _create(ledger, intent, create)
    except BaseException as error:
        if isinstance(error, GeneratorExit) and ledger.can_lose_writer:
            raise  # its event loop was closed: the lease ends by itself
        try:
            await ledger.end()
        except JunkieError:  # what has happened before counts; but others may have the order now
            if isinstance(error, JunkieError):
                error.outcome = Outcome.UNKNOWN
        raise
    await _close_filled(ledger, intent, key)
    return key


async def _close_filled(ledger: Ledger, intent: Intent, key: Key) -> None:
    """Log the key, and close the ledger with its commit."""
    try:
        try:
            log_key(ledger, intent, [key])
        finally:
            await ledger.close()
    except ConfigurationError as error:
        raise OutcomeUnknownError(
            f"outcome unknown: the key was created, and could not be recorded ({error.message}):"
            " call again with the same idempotency_key"
        ) from error


def _ignore_wait(_: float) -> None:
    pass


async def _create(ledger: Ledger, intent: Intent, create: CreateMarked) -> Key:
    assert intent.marker is not None

    def check_writer() -> None:
        ledger.check_writer()
        intent.in_doubt = True

    try:
        key = await create(intent.marker, check_writer)
        _check_marker(key, intent.marker)
        return key
    except (LeaseLostError, GeneratorExit):
        raise
    except BaseException as error:  # a cancellation, too: the delay counts from this moment on
        outcome = getattr(error, "outcome", Outcome.UNKNOWN)
        is_final = not intent.in_doubt or outcome is Outcome.NOT_EXECUTED
        with suppress(JunkieError):  # closing the ledger raises it again
            ledger.log_result(intent, (), final=is_final)
        raise


def _check_marker(key: Key, marker: str) -> None:
    if key.key_name is not None and read_marker(key.key_name) != marker:
        raise OutcomeUnknownError("outcome unknown: the response is about the key of another call")
