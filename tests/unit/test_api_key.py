"""An API key that rotates: when its function is asked, and what calls make of its answer."""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from multidict import CIMultiDict

from junkie_async import (
    AttemptEvent,
    AuthenticationError,
    ClientClosedError,
    ConfigurationError,
    Hooks,
    JunkieClient,
    JunkieError,
    Outcome,
    RequestTimeoutError,
    RetryEvent,
    RetryPolicy,
)
from junkie_async._http.shared_rate import RateStore, SharedThrottle
from junkie_async.emulator import Emulator

from .clock import run
from .scripted import GOOD, Script, Step, delayed, make_client, now
from .test_shared_rate import Store

OLD, NEW = "old-0123456789abcdef", "new-0123456789abcdef"
REFUSED: Step = (401, {}, b'{"error": "Invalid API key"}')
KEY: Step = (200, {}, b'{"key": {"id": 1, "key_value": "JNK"}}')


class Vault:
    """Gives one key after the other, the last one again and again."""

    def __init__(self, *values: Any, seconds: float | None = None) -> None:
        self.values, self.seconds = list(values), seconds
        self.asked = 0

    def __call__(self) -> Any:
        """Give the next key, after a while if there is one."""
        self.asked += 1
        value = self.values.pop(0) if len(self.values) > 1 else self.values[0]
        return self._give(value) if self.seconds is None else self._give_late(value)

    async def _give_late(self, value: Any) -> Any:
        await asyncio.sleep(self.seconds or 0.0)
        return self._give(value)

    def _give(self, value: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value


both = pytest.mark.parametrize("seconds", [None, 0.0, 1.0], ids=["sync", "async", "slow"])


@both
def test_it_is_asked_once(seconds: float | None) -> None:
    """Calls at the same time share the answer, and later ones have it."""
    script, vault = Script(), Vault(OLD, NEW, seconds=seconds)
    client = make_client(script, vault)

    async def main() -> None:
        await asyncio.gather(*[client.keys.folders() for _ in range(20)])
        await client.with_options(timeout=1).keys.folders()

    assert vault.asked == 0
    run(main())
    assert vault.asked == 1
    assert script.api_keys == [OLD] * 21


@both
@pytest.mark.parametrize(
    "call",
    [lambda client: client.keys.get(1), lambda client: client.keys.create(provider_id=1)],
    ids=["get", "create"],
)
def test_a_401_asks_again(
    call: Callable[[JunkieClient], Awaitable[object]], seconds: float | None
) -> None:
    """The call is sent once more, even a create, and even if retries are off."""
    retries: list[RetryEvent] = []

    class Watch(Hooks):
        def on_retry(self, event: RetryEvent) -> None:
            retries.append(event)

    script, vault = Script(REFUSED, KEY), Vault(OLD, NEW, seconds=seconds)
    client = make_client(script, vault, retry=RetryPolicy(attempts=1), hooks=Watch())
    run(_await(call(client)))
    assert (script.api_keys, vault.asked) == ([OLD, NEW], 2)
    assert [type(event.error) for event in retries] == [AuthenticationError]


@both
@pytest.mark.parametrize(("values", "sent"), [((OLD, NEW), [OLD, NEW]), ((OLD,), [OLD])])
def test_it_is_asked_once_for_a_call(
    values: tuple[str, ...], sent: list[str], seconds: float | None
) -> None:
    """Another 401 is the call's, and a key that was refused is not sent again."""
    script, vault = Script(REFUSED, REFUSED, REFUSED), Vault(*values, seconds=seconds)
    with pytest.raises(AuthenticationError) as caught:
        run(_await(make_client(script, vault).keys.get(1)))
    assert (script.api_keys, vault.asked) == (sent, 2)
    assert (caught.value.attempts, caught.value.method) == (len(sent), "GET")


def test_a_string_is_not_asked() -> None:
    """A 401 is final for a key that can't rotate."""
    script = Script(REFUSED)
    with pytest.raises(AuthenticationError):
        run(_await(make_client(script).keys.get(1)))
    assert script.api_keys == ["secret"]


@both
@pytest.mark.parametrize("values", [(OLD, NEW), (OLD, OLD)], ids=["other", "same"])
def test_many_401s_ask_once(values: tuple[str, ...], seconds: float | None) -> None:
    """All calls that were sent with one key ask once for the next one."""
    calls = 8
    script = Script(*[delayed(index / 4, (401, {}, b"")) for index in range(calls)])
    vault = Vault(*values, seconds=seconds)
    client = make_client(script, vault)

    async def main() -> list[Any]:
        gets = [client.keys.folders() for _ in range(calls)]
        return await asyncio.gather(*gets, return_exceptions=True)

    results = run(main())
    assert vault.asked == 2
    expected = [AuthenticationError if values[1] == OLD else list] * calls
    assert [type(result) for result in results] == expected


@both
@pytest.mark.parametrize("error", [KeyError("token-of-the-vault"), TimeoutError()])
def test_its_error(error: Exception, seconds: float | None) -> None:
    """Each call that has waited raises an error of its own, and the next call asks again."""
    script, vault = Script(), Vault(error, NEW, seconds=seconds)
    client = make_client(script, vault)

    async def main() -> list[JunkieError]:
        calls = [client.keys.get(1) for _ in range(1 if seconds is None else 3)]
        errors = await asyncio.gather(*calls, return_exceptions=True)
        await client.keys.folders()
        return errors  # type: ignore[return-value]

    errors = run(main())
    assert len(set(map(id, errors))) == len(errors)
    for one in errors:
        assert type(one) is ConfigurationError
        assert (one.__cause__, one.method, one.attempts) == (error, "GET", 0)
        assert "token" not in str(one)
    assert script.api_keys == [NEW]


@pytest.mark.parametrize(
    "value",
    [None, "", b"bytes", 5, "two words", f"{OLD}\n", "schlüssel"],
)
@both
def test_a_bad_value(value: Any, seconds: float | None) -> None:
    """What it returns is checked as a string is, and not shown."""
    script, vault = Script(), Vault(value, seconds=seconds)
    with pytest.raises(ConfigurationError) as caught:
        run(_await(make_client(script, vault).keys.get(1)))
    assert caught.value.__cause__ is None
    assert OLD not in str(caught.value)
    assert not script.began


@pytest.mark.parametrize(
    ("options", "seconds"),
    [({"timeout": 3}, 3.0), ({"deadline": 2}, 2.0), ({"deadline": 0.5}, 0.5), ({}, 30.0)],
)
def test_one_that_hangs(options: dict[str, Any], seconds: float) -> None:
    """A call waits for its time-out or its deadline; nothing was sent."""
    script, vault = Script(), Vault(OLD, seconds=1000)
    client = make_client(script, vault)

    async def main() -> None:
        begin = now()
        with pytest.raises(RequestTimeoutError) as caught:
            await client.with_options(**options).keys.create(provider_id=1)
        assert now() - begin == pytest.approx(seconds)
        assert caught.value.outcome is Outcome.NOT_EXECUTED
        await client.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())
    assert not script.began


def test_a_question_that_hangs_is_asked_anew() -> None:
    """Each call that waited for it has timed out, whatever its own time-out; the next one asks."""
    asked: list[float] = []

    async def hang_once() -> str:
        asked.append(now())
        await asyncio.sleep(1000 if len(asked) == 1 else 0)
        return OLD

    async def main() -> None:
        client = make_client(Script(), hang_once)
        patient = client.with_options(timeout=60)
        first, second = (asyncio.create_task(one.keys.folders()) for one in (client, patient))
        for call in (first, second):
            with pytest.raises(RequestTimeoutError):
                await call
        assert await client.keys.folders() == []
        assert asked == pytest.approx([1000, 1030])

    run(main())


def test_the_next_call_has_the_answer() -> None:
    """A function that takes longer than one call may wait is not asked again by the next one."""
    script, vault = Script(), Vault(OLD, seconds=3)
    hasty = make_client(script, vault).with_options(deadline=2)

    async def main() -> None:
        with pytest.raises(RequestTimeoutError):
            await hasty.keys.folders()
        await hasty.keys.folders()

    run(main())
    assert vault.asked == 1


def test_a_hasty_call_does_not_end_the_refresh() -> None:
    """A view with a short time-out asks first, and others go on to wait for the answer."""
    script, vault = Script(), Vault(OLD, seconds=3)
    client = make_client(script, vault)
    hasty = client.with_options(timeout=1)

    async def main() -> None:
        first, second = (asyncio.create_task(one.keys.folders()) for one in (hasty, client))
        with pytest.raises(RequestTimeoutError):
            await first
        assert now() == pytest.approx(1001.0)
        assert await second == []

    run(main())
    assert vault.asked == 1


def test_a_late_401_of_the_key_before() -> None:
    """It does not end the question for the next key: nobody sends the refused one meanwhile."""
    late = delayed(2.0, (401, {}, b""))
    script, vault = Script(late, REFUSED, GOOD, REFUSED), Vault("A", "B", "C", seconds=1.0)
    client = make_client(script, vault)

    async def main() -> None:
        first, second = (asyncio.create_task(client.keys.folders()) for _ in range(2))
        await asyncio.sleep(2.5)  # B has come at 1002
        third = asyncio.create_task(client.keys.folders())  # it is refused at once
        await asyncio.gather(first, second, third)

    run(main())
    assert (script.api_keys, vault.asked) == (["A", "A", "B", "B", "C", "C"], 3)


def test_no_second_key_after_the_deadline() -> None:
    """A 401 that comes too late is final: no other key is asked for, and nothing is sent."""
    script, vault = Script(delayed(40.0, (401, {}, b""))), Vault(OLD, NEW)
    client = make_client(script, vault, retry=RetryPolicy(deadline=30.0))
    with pytest.raises(AuthenticationError):
        run(_await(client.keys.folders()))
    assert (len(script.began), vault.asked) == (1, 1)


def test_a_closed_client_asks_for_no_key() -> None:
    """Its calls end before."""
    vault = Vault(OLD)

    async def main() -> None:
        client = make_client(Script(), vault)
        await client.close()
        with pytest.raises(ClientClosedError):
            await client.keys.folders()

    run(main())
    assert vault.asked == 0


def test_the_cause_of_a_shared_look_up() -> None:
    """Each `verify` that has waited for the same look-up names what the function raised."""
    error = KeyError("token-of-the-vault")
    client = make_client(Script(), Vault(error, seconds=1))

    async def main() -> list[Any]:
        calls = (client.keys.verify("JNK-0123456789") for _ in range(2))
        return await asyncio.gather(*calls, return_exceptions=True)

    first, second = run(main())
    assert first is not second
    assert first.__cause__ is second.__cause__ is error


def test_a_cancelled_call() -> None:
    """The one that has asked may be cancelled; the others get their answer."""
    script, vault = Script(), Vault(OLD, seconds=1)
    client = make_client(script, vault)

    async def main() -> None:
        first, second = (asyncio.create_task(client.keys.folders()) for _ in range(2))
        await asyncio.sleep(0.5)
        first.cancel()
        assert await second == []
        assert first.cancelled()

    run(main())
    assert vault.asked == 1


@pytest.mark.parametrize("pause", [0.0, 0.5])
def test_closing_ends_the_wait(pause: float) -> None:
    """Calls that wait for the key end as those that wait for a slot do."""
    client = make_client(Script(), Vault(OLD, seconds=1))

    async def main() -> None:
        call = asyncio.create_task(client.keys.folders())
        await asyncio.sleep(pause)
        await client.close()
        with pytest.raises(ClientClosedError):
            await call

    run(main())


def test_one_that_was_cancelled() -> None:
    """A function whose own task was cancelled does not cancel the call."""

    async def cancelled() -> str:
        raise asyncio.CancelledError

    with pytest.raises(ConfigurationError):
        run(_await(make_client(Script(), cancelled).keys.folders()))


def test_it_is_asked_again_in_another_loop() -> None:
    """A question that a closed event loop has left behind is asked anew."""
    script, vault = Script(), Vault(OLD, seconds=5)
    client = make_client(script, vault)
    with pytest.raises(RequestTimeoutError):
        run(_await(client.with_options(deadline=1).keys.folders()))
    run(_await(client.keys.folders()))
    assert (vault.asked, script.api_keys) == (2, [OLD])


def test_no_key_is_shown() -> None:
    """Neither the current key nor the one before is in an error, a repr, or frames."""
    said = f'{{"error": "not {OLD} but {NEW}"}}'.encode()
    script = Script(REFUSED, (400, {"X-Said": f"{OLD} {NEW}"}, said))
    client = make_client(script, Vault(OLD, NEW))
    with pytest.raises(JunkieError) as caught:
        run(_await(client.keys.get(1)))
    shown = [caught.value, vars(caught.value), client, client._dispatcher._api_key.current]
    assert script.api_keys == [OLD, NEW]
    assert not re.search(f"{OLD}|{NEW}", repr(shown) + _locals_of(caught.value))


@both
def test_the_frames_of_its_error(seconds: float | None) -> None:
    """They are empty: a vault's client has its token among their variables."""

    class Broken(Vault):
        def _give(self, value: Any) -> Any:
            token = value
            raise KeyError(len(token))

    with pytest.raises(ConfigurationError) as caught:
        run(_await(make_client(Script(), Broken(OLD, seconds=seconds)).keys.get(1)))
    assert isinstance(caught.value.__cause__, KeyError)
    assert OLD not in _locals_of(caught.value) + _locals_of(caught.value.__cause__)


def test_no_key_is_a_request_id() -> None:
    """A header that repeats the API key is not shown: in errors, in hooks, or in refusals."""
    events: list[AttemptEvent] = []

    class Watch(Hooks):
        def on_attempt(self, event: AttemptEvent) -> None:
            events.append(event)

    headers = CIMultiDict({"X-Request-Id": NEW})
    script = Script(
        (400, headers, b"{}"),
        (200, CIMultiDict(), f'{{"success": false, "error": "no {NEW}"}}'.encode()),
        (400, CIMultiDict({"X-Request-Id": "abc"}), b"{}"),
    )
    client = make_client(script, NEW, hooks=Watch())
    errors = []
    for _ in range(3):
        with pytest.raises(JunkieError) as caught:
            run(_await(client.keys.get(1)))
        errors.append(caught.value)
    assert [error.request_id for error in errors] == [None, None, "abc"]
    assert [event.request_id for event in events] == [None, None, "abc"]
    assert NEW not in repr([str(error) for error in errors]) + repr(events)


def _locals_of(error: BaseException) -> str:
    """Write the variables of an error's frames that are below those of the test."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = ("main", "run", "_await", "run_until_complete")
    inner = [one for one in frames if one.f_code.co_name not in own]
    return repr([one.f_locals for one in inner if not one.f_code.co_name.startswith("test_")])


class Stores(SharedThrottle):
    """Opens a store for each key, and notes which are closed."""

    def __init__(self) -> None:
        self.opened: dict[str, Store] = {}
        self.closed: list[str] = []

    def open_store(self, api_key: str, base_url: str) -> RateStore:
        """Open the one of a key."""
        stores = self

        class Noted(Store):
            async def close(self) -> None:
                stores.closed.append(api_key)

        return self.opened.setdefault(api_key, Noted())


def test_the_rate_is_shared_by_the_key(caplog: pytest.LogCaptureFixture) -> None:
    """Slots come from the store of the key that is sent; that of the key before is closed."""
    stores, script = Stores(), Script(GOOD, REFUSED)
    client = make_client(script, Vault(OLD, NEW), throttle=stores)

    async def main() -> None:
        assert not stores.opened
        await client.keys.folders()
        await client.keys.folders()
        assert set(stores.closed) == {OLD}
        await asyncio.gather(*[client.keys.folders() for _ in range(5)])
        await client.close()

    run(main())
    assert script.api_keys == [OLD, OLD, *[NEW] * 6]
    assert [(key, store.number) for key, store in stores.opened.items()] == [(OLD, 2), (NEW, 6)]
    assert set(stores.closed) == {OLD, NEW}
    assert [one.message for one in caplog.records if one.levelno >= logging.WARNING] == []


async def test_a_job_beside_a_rotation() -> None:
    """A job goes on with the new key, over a real connection, and makes each key once."""
    async with Emulator(api_keys=[OLD]) as emulator:
        vault = Vault(OLD, NEW, seconds=0.0)
        async with JunkieClient(vault, base_url=emulator.url) as client:
            job = client.keys.create_many(3000, provider_id=1, concurrency=4)
            async for _ in job:
                emulator._api_keys = frozenset([NEW])
            assert len(job.report.keys) == 3000
            assert await client.keys.list().count() == 3000
        assert vault.asked == 2


async def _await(call: Awaitable[object]) -> object:
    return await call
