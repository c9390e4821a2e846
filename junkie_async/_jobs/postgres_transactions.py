"""Transactions in PostgreSQL, again and again while the server can't be reached."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Final, TypeAlias, TypeVar

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - it ships no types

from .._errors import ConfigurationError
from .._protocol.json_documents import decode_json
from .record import DamagedError

T = TypeVar("T")

Connection: TypeAlias = Any  # of asyncpg, which ships no types
Pool: TypeAlias = Any
Enter: TypeAlias = Callable[[Pool], AbstractAsyncContextManager[Connection]]

FIRST_POLL: Final = 0.01  # seconds between two tries, for a lease or after a lost connection
LAST_POLL: Final = 0.5

_BUSY: Final = 30.0
"""Seconds to wait for a connection of the pool."""
_BEGIN: Final = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 1000"  # ms

# What passes: a lost connection, a server that starts or stops, too many connections, a deadlock.
_TRANSIENT: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # for a query that is sent before the server's goodbye is read
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # of a server that is not the primary yet
)


@asynccontextmanager
async def acquire(pool: Pool) -> AsyncGenerator[Connection, None]:
    """Take a connection, for one statement in plain text, which is a transaction of its own."""
    async with pool.acquire(timeout=_BUSY) as db:
        try:
            yield db
        except BaseException:
            db.terminate()  # a rollback would wait for a server that doesn't respond
            raise


@asynccontextmanager
async def begin(pool: Pool) -> AsyncGenerator[Connection, None]:
    """Begin a transaction, which the server ends if this process is silent for a second.

    Otherwise a process that is stopped amid its transaction would keep its locks, and no other
    worker could take its job over.
    """
    async with acquire(pool) as db:
        await db.execute(_BEGIN)  # in one round trip, unlike `db.transaction()`
        yield db
        await db.execute("COMMIT")


async def fetch_plain(db: Connection, query: str) -> dict[str, Any] | None:
    """Execute a query in plain text, which gives one row as JSON in hexadecimal digits, or none.

    asyncpg gives the rows of such a query by COPY only, and COPY escapes no digits.
    """
    received = bytearray()

    async def receive(data: bytes) -> None:
        received.extend(data)

    await db.copy_from_query(query, output=receive)
    return decode_json(bytes.fromhex(received.decode())) if received else None


@contextmanager
def explain_damage() -> Generator[None]:
    """Turn an error in the content into one of ours."""
    try:
        yield
    except DamagedError:
        raise _make_error("it is damaged: restore a copy of it") from None


async def run_transaction(
    get_pool: Callable[[], Awaitable[Pool]],
    act: Callable[[Connection], Awaitable[T]],
    patience: float,
    enter: Enter = begin,
) -> T:
    """Execute something in a transaction, again for ``patience`` seconds while that fails.

    Raises:
        ConfigurationError: The database can't be used.
    """
    loop = asyncio.get_running_loop()
    deadline, seconds = loop.time() + patience, FIRST_POLL
    while True:
        try:
            async with asyncio.timeout_at(deadline), enter(await get_pool()) as db:
                with explain_damage():
                    return await act(db)
        except asyncpg.ClientConfigurationError as error:  # an InterfaceError
            reason, is_transient = type(error).__name__, False
        except _TRANSIENT as error:
            reason = type(error).__name__
            # A pool of the caller's that is closed, or was not awaited, stays so.
            is_transient = not str(error).startswith("pool is ")
        except (asyncpg.PostgresError, ValueError, OverflowError) as error:
            reason, is_transient = type(error).__name__, False
        if not is_transient or loop.time() + seconds > deadline:
            # Its text may quote key values, or a password.
            raise _make_error(reason)
        await asyncio.sleep(seconds)
        seconds = min(2 * seconds, LAST_POLL)


def _make_error(reason: str) -> ConfigurationError:
    return ConfigurationError(f"the ledger in PostgreSQL can't be used: {reason}")
