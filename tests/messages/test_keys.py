"""The texts of errors that the operations on keys raise themselves."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from junkie_async import (
    ConfigurationError,
    InvalidRequestError,
    JunkieClient,
    KeyPage,
    NotFoundError,
    RequestTimeoutError,
    RetryPolicy,
    TooManyMatchesError,
)
from junkie_async.emulator import Emulator, Faults


@pytest.fixture
def junkie() -> JunkieClient:
    """A client whose calls fail before a request."""
    return JunkieClient("any", base_url="http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda keys: keys.purge(),
            "filters must be at least one filter, or everything=True without filters, got neither",
        ),
        (
            lambda keys: keys.purge(folder_id=3, everything=True),
            "filters must be at least one filter, or everything=True without filters, got both",
        ),
        (
            lambda keys: keys.update(1),
            "changes must be at least one field of the key, got none",
        ),
        (
            lambda keys: keys.get("x" * 1025),
            "key must be a key value of at most 1024 bytes, got one of 1025 bytes",
        ),
    ],
)
async def test_bad_arguments(
    junkie: JunkieClient, call: Callable[[Any], Any], message: str
) -> None:
    """Arguments that are valid alone, but not together, are refused before a request."""
    with pytest.raises(InvalidRequestError) as caught:
        await call(junkie.keys)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("call", "name", "meant"),
    [
        ("create", "validty_minutes", "validity_minutes"),
        ("create", "name", "key_name"),
        ("create", "expires_at", "validity_minutes"),
        ("create", "Provider", "provider_id"),
        ("create", "user_id", "discord_id"),
        ("create_batch", "count", "amount"),
        ("create_many", "hwids", "hwid"),
        ("create_many", "workers", "concurrency"),
        ("update", "expires", "expires_at or validity_minutes"),
        ("update", "invalidated", "is_invalidated"),
        ("update_many", "folder", "folder_id"),
        ("list", "state", "status"),
        ("list", "expires", "expires_after or expires_before"),
        ("list", "expires_aftr", "expires_after"),
        ("stats", "service", "service_id"),
        ("purge", "value", "key"),
        ("purge", "expired", "status"),
        ("purge", "colour", None),
    ],
)
def test_unknown_fields(junkie: JunkieClient, call: str, name: str, meant: str | None) -> None:
    """A field that a call does not have is a TypeError, at the call, that says what was meant."""
    with pytest.raises(TypeError) as caught:
        getattr(junkie.keys, call)(**{name: 1})
    advice = f": did you mean {meant}?" if meant else ""
    assert str(caught.value) == f"{call}() got an unexpected keyword argument {name!r}{advice}"


def test_no_event_loop(junkie: JunkieClient) -> None:
    """The error says what runs a call, and names trio, whose users have an event loop."""
    with pytest.raises(ConfigurationError) as caught:
        junkie.keys.get(5).send(None)
    assert str(caught.value) == (
        "no asyncio event loop is running here: await this call in a coroutine that asyncio runs, "
        "as asyncio.run(main()) does; trio can't run it"
    )


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda keys: keys.verify("x"), "verify"),
        (lambda keys: keys.find("x"), "find"),
        (lambda keys: keys.list(), "list"),
    ],
)
def test_forgotten_await(junkie: JunkieClient, call: Callable[[Any], Any], name: str) -> None:
    """A call that is not awaited is no condition: as a coroutine it would always be true."""
    with pytest.raises(TypeError) as caught:
        bool(call(junkie.keys))
    assert str(caught.value) == (
        f"keys.{name}() is not awaited, so it is neither true nor false: use `await`"
    )


async def test_await_too_many() -> None:
    """The error says that one page is not the list."""
    with pytest.raises(TypeError) as caught:
        async for _ in KeyPage():  # type: ignore[attr-defined]
            pass
    assert str(caught.value) == (
        "`async for` over a KeyPage, which is one page: drop the `await` to walk over all keys "
        "(`async for key in keys.list()`), or use `for` for this page alone"
    )


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda keys: keys.verify("x"), "verify"),
        (lambda keys: keys.list(), "list"),
        (lambda keys: keys.create_many(1, provider_id=1), "create_many"),
        (lambda keys: keys.delete_many([1]), "delete_many"),
        (lambda keys: keys.update_many([1], is_premium=True), "update_many"),
        (lambda keys: keys.reset_hwid_many([1]), "reset_hwid_many"),
    ],
)
def test_never_awaited(junkie: JunkieClient, call: Callable[[Any], Any], name: str) -> None:
    """The warning has Python's own words for a coroutine."""
    text = f"keys.{name}() was never awaited or iterated over: nothing was sent"
    with pytest.warns(RuntimeWarning, match=f"^{re.escape(text)}$"):
        call(junkie.keys)


@pytest.mark.parametrize(
    ("name", "call", "advice"),
    [
        ("delete", "DELETE /keys/{keyId}", "pass the key's ID as an int, or search list(key=...)"),
        ("verify", "GET /keys/{keyId}", "search list(key=...)"),
        ("find", "GET /keys", "search list(key=...)"),
    ],
)
async def test_a_value_that_too_many_keys_contain(name: str, call: str, advice: str) -> None:
    """The error says how many were looked at, and what the caller of this method can do."""
    async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as junkie:
        await emulator.seed(600, key_value=lambda row: f"JNK-7-{row}")
        with pytest.raises(TooManyMatchesError) as caught:
            await getattr(junkie.keys, name)("7")
    assert str(caught.value) == (
        f"{call}: none of the first 500 keys that contain this value is equal to it, "
        f"and there are more: {advice}"
    )


async def test_a_value_of_digits() -> None:
    """A value that reads as a number is looked up; the error says how to pass an ID."""
    async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as junkie:
        with pytest.raises(NotFoundError) as caught:
            await junkie.keys.get("123")
    assert caught.value.message == "no key has this value (pass an ID as an int)"


async def test_a_look_up_that_another_caller_makes() -> None:
    """The error of a caller that has joined it, and whose deadline is shorter."""
    async with (
        Emulator(faults=Faults(latency=5.0)) as emulator,
        JunkieClient("any", base_url=emulator.url) as junkie,
    ):
        patient = asyncio.create_task(junkie.keys.verify("JNK-1"))
        await asyncio.sleep(0)
        with pytest.raises(RequestTimeoutError) as caught:
            await junkie.with_options(deadline=0.01).keys.verify("JNK-1")
        patient.cancel()
    assert str(caught.value) == (
        "GET /keys/{keyId}: timed out while the same look-up was under way for another caller"
    )


async def test_an_outage_that_stale_answers_hide(caplog: pytest.LogCaptureFixture) -> None:
    """The log says when it begins and when it ends."""
    retry = RetryPolicy(attempts=1)
    async with (
        Emulator() as emulator,
        JunkieClient("any", base_url=emulator.url, retry=retry) as junkie,
    ):
        await emulator.seed(2, key_value=lambda row: f"JNK-{row}")
        for value in ("JNK-0", "JNK-1"):
            assert await junkie.keys.verify(value, stale_if_error=60)
        emulator.faults = Faults(error_rate=1.0, error_status=500)
        for value in ("JNK-0", "JNK-1", "JNK-0"):
            assert (await junkie.keys.verify(value, stale_if_error=60)).stale
        emulator.faults = None
        assert not (await junkie.keys.verify("JNK-0")).stale
    assert caplog.messages == [
        "verify: the service fails (ServerError): answers are stale until it works again",
        "verify: the service answers again",
    ]
