"""Orders in a ledger: however many shards fill one at the same time, it gives one key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from junkie_async import ConfigurationError, Filters, InvalidRequestError, Key, Keys
from junkie_async.provisioning import JobStatus, claim, is_dsn, release, status

if TYPE_CHECKING:
    # Imported only for a ledger in PostgreSQL: it needs asyncpg.
    from junkie_async.postgres import PostgresLedger

LedgerOption: TypeAlias = "str | PathLike[str] | PostgresLedger"

_LONGEST_CLAIM: Final = 1e9  # seconds, 30 years; a timedelta can be longer

# What a ledger records of an order besides the fields of its key.
_NOT_FIELDS: Final = frozenset({"amount", "base_url", "call", "marker"})


def name_order(scope: Filters, user_id: int, previous: Key | None) -> str:
    """Name the order of the key that follows a user's previous one.

    All shards that see the same previous key fill the same order.
    """
    shop = f"{scope.get('provider_id')}:{scope.get('service_id') or 0}"
    return f"discord:{shop}:{user_id}:{previous.id if previous else 0}"


async def fill_order(
    keys: Keys,
    name: str,
    ledger: LedgerOption,
    reconcile_after: float,
    *,
    provider_id: int,
    **fields: Any,
) -> Key:
    """Return the key of an order, created now or before.

    An order that was begun by a bot with other settings is filled as it was begun. Otherwise a user
    who calls two shards during an update would get two keys.

    Raises:
        ConfigurationError: The ledger belongs to another service, or can't be used.
        OutcomeUnknownError: The key may have been created. The next call settles that.
    """
    given: dict[str, Any] = {"provider_id": provider_id, **fields}
    order: dict[str, Any] = {
        "idempotency_key": name,
        "ledger": ledger,
        "reconcile_after": reconcile_after,
    }
    try:
        return await keys.create(**order, **given)
    except InvalidRequestError:
        begun = (await _read_status(ledger, name)).arguments
    try:
        given = {field: value for field, value in begun.items() if field not in _NOT_FIELDS}
        return await keys.create(**order, **given)
    except InvalidRequestError as error:
        # Not for the user, who entered nothing: it names the address of the service.
        raise ConfigurationError(f"the ledger can't be used: {error}") from error


def name_reset(scope: Filters, user_id: int) -> str:
    """Name what a user claims by the reset of a key."""
    return f"discord:{scope.get('provider_id')}:{scope.get('service_id') or 0}:{user_id}:reset"


def name_announcement(scope: Filters, user_id: int, key: Key) -> str:
    """Name what the one shard claims that reports a user's new key."""
    shop = f"{scope.get('provider_id')}:{scope.get('service_id') or 0}"
    return f"discord:{shop}:{user_id}:new:{key.id}"


async def claim_name(ledger: LedgerOption, name: str, seconds: float) -> float:
    """Claim a name, or return the seconds until it is free."""
    seconds = min(seconds, _LONGEST_CLAIM)
    if isinstance(ledger, str | PathLike) and not is_dsn(ledger):
        return await asyncio.to_thread(claim, ledger, name, seconds)
    async with _open_database(ledger) as opened:
        return await opened.claim(name, seconds)


async def release_name(ledger: LedgerOption, name: str) -> None:
    """End a claim, so that nobody waits for it."""
    if isinstance(ledger, str | PathLike) and not is_dsn(ledger):
        await asyncio.to_thread(release, ledger, name)
    else:
        async with _open_database(ledger) as opened:
            await opened.release(name)


async def _read_status(ledger: LedgerOption, name: str) -> JobStatus:
    if isinstance(ledger, str | PathLike) and not is_dsn(ledger):
        return await asyncio.to_thread(status, ledger, name)  # it reads the whole file
    async with _open_database(ledger) as opened:
        return await opened.status(name)


@asynccontextmanager
async def _open_database(ledger: LedgerOption) -> AsyncGenerator[PostgresLedger, None]:
    """Open the ledger of a DSN, or leave the caller's open."""
    if not is_dsn(ledger):
        yield cast("PostgresLedger", ledger)
        return
    from junkie_async.postgres import PostgresLedger

    async with PostgresLedger(ledger) as opened:
        yield opened
