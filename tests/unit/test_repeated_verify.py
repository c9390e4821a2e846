"""`verify` that is asked for the same keys again: at once, soon after, and in an outage."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest

from junkie_async import (
    APIError,
    AuthenticationError,
    ClientClosedError,
    ConnectError,
    InvalidRequestError,
    InvalidResponseError,
    JunkieClient,
    JunkieError,
    Keys,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
    TransportError,
    Verdict,
)
from junkie_async._http.send_state import SendState
from junkie_async._http.transport import Response
from junkie_async._protocol import requests
from junkie_async._verification.service_health import is_outage

from .clock import VirtualLoop, run
from .scripted import Script, make_dispatcher, now

VALUE = "JNK-0123456789-SECRET"
OTHER = "JNK-9876543210-SECRET"
DEVICE = "DEVICE-0123456789"
DOWN = ConnectError("refused")
HTML = {"Content-Type": "text/html"}
ONCE = RetryPolicy(attempts=1)


class Shop(Script):
    """A service with keys, which answers each request after ``seconds`` with `trouble`, if any."""

    def __init__(self, *values: str, seconds: float = 0.0) -> None:
        super().__init__()
        self.rows: dict[str, dict[str, Any]] = {
            value: {"id": number, "key_value": value} for number, value in enumerate(values, 1)
        }
        self.seconds = seconds
        self.trouble: Response | JunkieError | None = None
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}

    async def attempt(
        self, request: requests.Request[object], state: SendState, left: float
    ) -> Response:
        """Answer, or time out."""
        self.asked.append(f"{request.method} {request.target}")
        answered = self._answer(request)
        if self.seconds > left:
            await asyncio.sleep(left)
            raise RequestTimeoutError("timed out")
        await asyncio.sleep(self.seconds)
        if isinstance(answered, JunkieError):
            raise type(answered)(*answered.args, outcome=answered.outcome)
        return answered

    def _answer(self, request: requests.Request[object]) -> Response | JunkieError:
        if self.trouble is not None:
            return self.trouble
        if request.method != "GET":
            return 200, self.headers, b'{"success": true, "deleted": 1}'
        row = self.rows.get(request.target.removeprefix("/keys/"))
        found: dict[str, Any] = {"keys": []} if request.path == "/keys" else {"error": "Key?"}
        if row is not None:
            found = {"key": row}
        is_gone = row is None and request.path != "/keys"
        return 404 if is_gone else 200, self.headers, msgspec.json.encode(found)


def make_keys(shop: Shop, retry: RetryPolicy = ONCE, **options: Any) -> Keys:
    """Make the operations of a shop."""
    return Keys(make_dispatcher(shop, retry, **options))


# --- at once --------------------------------------------------------------------------------------


def test_equal_look_ups_are_made_once() -> None:
    """200 calls of the same key take one request, also without ``max_age``."""
    shop = Shop(VALUE, seconds=1.0)

    async def main() -> list[Verdict]:
        keys = make_keys(shop)
        return await asyncio.gather(*(keys.verify(VALUE) for _ in range(200)))

    verdicts = run(main())
    assert len(shop.asked) == 1
    assert {(bool(one), one.stale, one.age) for one in verdicts} == {(True, False, 0.0)}


def test_each_caller_is_judged_by_its_own_arguments() -> None:
    """What is shared is the look-up, not the verdict."""
    shop = Shop(VALUE, seconds=1.0)
    shop.rows[VALUE] |= {"service_id": 1, "is_premium": False}

    async def main() -> list[Verdict]:
        keys = make_keys(shop)
        claims: list[dict[str, Any]] = [{"service_id": 1}, {"service_id": 2}, {"premium": True}]
        return await asyncio.gather(*(keys.verify(VALUE, **one) for one in claims))

    assert [one.reason for one in run(main())] == [None, "wrong_service", "not_premium"]
    assert len(shop.asked) == 1


def test_devices_are_not_shared() -> None:
    """An error masks the device of its own caller alone, so others make a request of their own."""
    shop = Shop(VALUE, seconds=1.0)
    shop.trouble = (400, {}, b'{"error": "bound to DEVICE-0123456789"}')

    async def main() -> list[Any]:
        keys = make_keys(shop)
        calls = (keys.verify(VALUE, hwid=hwid) for hwid in (DEVICE, DEVICE, "DEVICE-B"))
        return await asyncio.gather(*calls, return_exceptions=True)

    errors = run(main())
    assert len(shop.asked) == 2
    assert [DEVICE in str(error) for error in errors] == [False, False, True]


def test_one_that_comes_later_asks_anew() -> None:
    """Without ``max_age`` nothing is used again."""
    shop = Shop(VALUE)

    async def main() -> None:
        keys = make_keys(shop)
        for _ in range(3):
            assert await keys.verify(VALUE)

    run(main())
    assert len(shop.asked) == 3


@pytest.mark.parametrize("victims", [[0], [1], [0, 2], [0, 1, 2, 3]], ids=str)
def test_a_cancelled_caller(victims: list[int]) -> None:
    """The others get their verdicts from the same request; the last one's ends it."""
    shop = Shop(VALUE, seconds=5.0)

    async def main() -> list[Any]:
        keys = make_keys(shop)
        tasks = [asyncio.create_task(keys.verify(VALUE)) for _ in range(4)]
        await asyncio.sleep(1.0)
        for victim in victims:
            tasks[victim].cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert len(asyncio.all_tasks()) == 1
        assert now() == pytest.approx(1001.0 if len(victims) == 4 else 1005.0, abs=0.1)
        return ended

    ended = run(main())
    for index, one in enumerate(ended):
        assert isinstance(one, asyncio.CancelledError if index in victims else Verdict)
    assert len(shop.asked) == 1


@pytest.mark.parametrize("passes", [0, 1, 2, 3])
def test_a_caller_that_comes_as_the_last_is_cancelled(passes: int) -> None:
    """It joins the request if that goes on, and starts another one if that ends."""
    shop = Shop(VALUE, seconds=1.0)

    async def main() -> Verdict:
        keys = make_keys(shop)
        first = asyncio.create_task(keys.verify(VALUE))
        await asyncio.sleep(0.5)
        first.cancel()
        for _ in range(passes):
            await asyncio.sleep(0)
        return await keys.verify(VALUE)

    assert run(main())
    assert len(shop.asked) == (1 if passes == 0 else 2)


def test_an_error_is_each_callers_own() -> None:
    """They share neither the error nor its traceback, whose frames would be another's."""
    shop = Shop(VALUE, seconds=1.0)
    shop.trouble = (500, {"X-Request-Id": "abc"}, b"")

    async def main() -> list[Any]:
        keys = make_keys(shop)
        calls = (keys.verify(VALUE) for _ in range(3))
        return await asyncio.gather(*calls, return_exceptions=True)

    errors = run(main())
    assert len(shop.asked) == 1
    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert isinstance(error, ServerError)
        assert (error.status, error.method, error.path) == (500, "GET", "/keys/{keyId}")
        assert error.headers["x-request-id"] == "abc"
        assert error.__context__ is error.__cause__ is None
    frames = [id(one.tb_frame) for error in errors for one in tracebacks(error)]
    assert len(frames) == len(set(frames))


def tracebacks(error: BaseException) -> list[Any]:
    """Return the parts of an error's traceback, but for the test's own frames."""
    found, part = [], error.__traceback__
    while part is not None:
        if "junkie_async" in part.tb_frame.f_code.co_filename and not part.tb_frame.f_locals:
            found.append(part)
        part = part.tb_next
    return found


@pytest.mark.parametrize(("later", "requests"), [(0.5, 1), (4.0, 1), (6.0, 2)])
def test_each_caller_keeps_its_deadline(later: float, requests: int) -> None:
    """One that joins late gets its error no later than alone, and not much earlier either."""
    shop = Shop(VALUE, seconds=60.0)

    async def main() -> list[float]:
        keys = make_keys(shop)
        keys.deadline = 10.0
        ends: list[float] = []

        async def call(after: float) -> None:
            await asyncio.sleep(after)
            with pytest.raises(TransportError):
                await keys.verify(VALUE)
            ends.append(round(now() - 1000.0 - after, 1))

        await asyncio.gather(call(0.0), call(later))
        return ends

    first, second = run(main())
    assert first == 10.0
    assert 5.0 <= second <= 10.0
    assert len(shop.asked) == requests


def test_a_shorter_deadline_among_others() -> None:
    """A caller of 2 s joins one of 60 s, and does not wait for longer; the other does."""
    shop = Shop(VALUE, seconds=5.0)

    async def main() -> Verdict:
        keys, quick = make_keys(shop), make_keys(shop)
        vars(quick).update(vars(keys))
        keys.deadline, quick.deadline = 60.0, 2.0
        patient = asyncio.create_task(keys.verify(VALUE))
        await asyncio.sleep(0.0)
        with pytest.raises(RequestTimeoutError):
            await quick.verify(VALUE)
        assert now() == pytest.approx(1002.0, abs=0.1)
        return await patient

    assert run(main())
    assert len(shop.asked) == 1


def test_a_longer_deadline_among_others() -> None:
    """A caller of 60 s does not join one of 2 s, whose time-out would be its own."""
    shop = Shop(VALUE, seconds=5.0)

    async def main() -> Verdict:
        keys, quick = make_keys(shop), make_keys(shop)
        vars(quick).update(vars(keys))
        keys.deadline, quick.deadline = 60.0, 2.0
        late = asyncio.create_task(quick.verify(VALUE))
        await asyncio.sleep(0.0)
        verdict = await keys.verify(VALUE)
        assert isinstance(late.exception(), RequestTimeoutError)
        return verdict

    assert run(main())
    assert len(shop.asked) == 2


def test_a_loop_that_was_closed(caplog: pytest.LogCaptureFixture) -> None:
    """What was under way in it is not joined, and frees what it has."""
    shop = Shop(VALUE, seconds=1.0)
    keys = make_keys(shop)
    loop = VirtualLoop()
    left = loop.create_task(keys.verify(VALUE))
    loop.call_later(0.5, loop.stop)
    loop.run_forever()
    loop.close()
    assert run(keys.verify(VALUE))
    assert len(shop.asked) == 2
    del left
    gc.collect()
    assert {record.name for record in caplog.records} == {"asyncio"}  # they were pending


# --- soon after -----------------------------------------------------------------------------------


def test_an_answer_is_used_again() -> None:
    """For less than ``max_age`` seconds, and with its age."""
    shop = Shop(VALUE)

    async def main() -> list[float]:
        keys, ages = make_keys(shop), []
        for _ in range(7):
            verdict = await keys.verify(VALUE, max_age=5)
            assert (verdict.valid, verdict.stale, verdict.looked_for) == (True, False, VALUE)
            assert verdict.key is not None
            assert verdict.key.key_value == VALUE
            ages.append(round(verdict.age, 1))
            await asyncio.sleep(2)
        return ages

    assert run(main()) == [0.0, 2.0, 4.0, 0.0, 2.0, 4.0, 0.0]
    assert len(shop.asked) == 3


def test_it_is_judged_again() -> None:
    """By the arguments and the service's time of each call."""
    shop = Shop(VALUE)
    start = datetime.now(UTC).replace(microsecond=0)
    expires = start + timedelta(seconds=30)
    shop.headers["Date"] = format_datetime(start, usegmt=True)
    shop.rows[VALUE] |= {"expires_at": expires.isoformat(), "service_id": 1, "hwid_limit": 1}
    shop.rows[VALUE] |= {"keys_hwid": ["A"]}

    async def main() -> list[Any]:
        keys, reasons = make_keys(shop), []
        claims: list[dict[str, Any]] = [{}, {"service_id": 2}, {"hwid": "B"}, {"hwid": "A"}]
        for one in claims:
            reasons.append((await keys.verify(VALUE, max_age=60, **one)).reason)
        await asyncio.sleep(31)
        reasons.append((await keys.verify(VALUE, max_age=60)).reason)
        return reasons

    assert run(main()) == [None, "wrong_service", "hwid_mismatch", None, "expired"]
    assert len(shop.asked) == 1


def test_no_key_is_not_remembered() -> None:
    """A key that was just bought is found by the next call."""
    shop = Shop()

    async def main() -> None:
        keys = make_keys(shop)
        assert not await keys.verify(VALUE, max_age=60)
        shop.rows[VALUE] = {"id": 1, "key_value": VALUE}
        assert await keys.verify(VALUE, max_age=60)

    run(main())


def test_a_key_for_one_use_is_asked_for_each_time() -> None:
    """Until it was used: then it stays so."""
    shop = Shop(VALUE)
    shop.rows[VALUE]["one_time_use"] = True

    async def main() -> None:
        keys = make_keys(shop)
        assert await keys.verify(VALUE, max_age=60, stale_if_error=60)
        shop.rows[VALUE]["used_at"] = "2026-01-01T00:00:00Z"
        for _ in range(3):
            assert not await keys.verify(VALUE, max_age=60, stale_if_error=60)

    run(main())
    assert len(shop.asked) == 2


def test_a_deleted_key_is_forgotten() -> None:
    """Once a look-up shows that it is gone, an outage does not bring it back."""
    shop = Shop(VALUE)

    async def main() -> None:
        keys = make_keys(shop)
        assert await keys.verify(VALUE, stale_if_error=60)
        del shop.rows[VALUE]
        assert not await keys.verify(VALUE, stale_if_error=60)
        shop.trouble = DOWN
        with pytest.raises(ConnectError):
            await keys.verify(VALUE, stale_if_error=60)

    run(main())


def test_what_was_pasted_around_it() -> None:
    """The value as given is asked for first, each time; in an outage the other one will do."""
    shop = Shop(VALUE)

    async def main() -> None:
        keys = make_keys(shop)
        assert await keys.verify(VALUE, max_age=60, stale_if_error=60)
        verdict = await keys.verify(f" {VALUE}", max_age=60, stale_if_error=60)
        assert (verdict.valid, verdict.looked_for) == (True, VALUE)
        assert [line.partition("?")[0] for line in shop.asked[1:]] == [
            f"GET /keys/%20{VALUE}",
            "GET /keys",
        ]
        shop.trouble = DOWN
        verdict = await keys.verify(f" {VALUE}", stale_if_error=60)
        assert (verdict.valid, verdict.stale, verdict.looked_for) == (True, True, VALUE)

    run(main())


CHANGES: dict[str, Callable[[Keys, Any], Awaitable[object]]] = {
    "update": lambda keys, key: keys.update(key, is_premium=True),
    "invalidate": lambda keys, key: keys.invalidate(key),
    "revalidate": lambda keys, key: keys.revalidate(key),
    "reset_hwid": lambda keys, key: keys.reset_hwid(key),
    "delete": lambda keys, key: keys.delete(key),
    "bulk_delete": lambda keys, key: keys.bulk_delete([key]),
    "delete_many": lambda keys, key: keys.delete_many([key]),
    "update_many": lambda keys, key: keys.update_many([key], is_premium=True),
    "reset_hwid_many": lambda keys, key: keys.reset_hwid_many([key]),
}


@pytest.mark.parametrize("by", ["id", "value", "key"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_forgets_the_key(change: str, by: str) -> None:
    """Whatever the change is, and however it names the key; other keys stay."""
    shop = Shop(VALUE, OTHER)

    async def main() -> None:
        keys = make_keys(shop)
        verdict = await keys.verify(VALUE, max_age=60)
        await keys.verify(OTHER, max_age=60)
        await CHANGES[change](keys, {"id": 1, "value": VALUE, "key": verdict.key}[by])
        shop.asked.clear()
        await keys.verify(OTHER, max_age=60)
        assert shop.asked == []
        await keys.verify(VALUE, max_age=60)
        assert shop.asked == [f"GET /keys/{VALUE}"]

    run(main())


@pytest.mark.parametrize(
    ("method", "path", "requests"),
    [
        ("GET", "/keys/1", 0),
        ("POST", "/services/1", 0),
        ("patch", "/keys/1", 1),
        ("POST", "/keys/bulk-update", 1),
        ("DELETE", "/services/1/keys", 1),
    ],
)
def test_a_request_that_is_not_modelled(method: str, path: str, requests: int) -> None:
    """One that may change any key forgets all."""
    shop = Shop(VALUE)

    async def main() -> None:
        client = JunkieClient("any", base_url="http://127.0.0.1:1")
        vars(client).update(_dispatcher=make_dispatcher(shop, ONCE))
        vars(client.keys).update(_dispatcher=client._dispatcher)
        await client.keys.verify(VALUE, max_age=60)
        with suppress(NotFoundError):
            await client.request(method, path)
        shop.asked.clear()
        await client.keys.verify(VALUE, max_age=60)
        assert len(shop.asked) == requests

    run(main())


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_fails_forgets_it_too(change: str) -> None:
    """It may have been made all the same."""
    shop = Shop(VALUE)

    async def main() -> None:
        keys = make_keys(shop, RetryPolicy(attempts=1, outage=0.0))
        await keys.verify(VALUE, max_age=60)
        shop.trouble = TransportError("lost")
        with suppress(JunkieError):
            await CHANGES[change](keys, 1)
        shop.trouble = None
        shop.asked.clear()
        await keys.verify(VALUE, max_age=60)
        assert len(shop.asked) == 1

    run(main())


@pytest.mark.parametrize("by", [1, VALUE])
def test_a_look_up_under_way_during_a_change(by: int | str) -> None:
    """It may have read the old state: it is neither joined afterwards nor remembered."""
    shop = Shop(VALUE, seconds=5.0)

    async def main() -> None:
        keys = make_keys(shop)
        early = asyncio.create_task(keys.verify(VALUE, max_age=60))
        await asyncio.sleep(1.0)
        shop.seconds = 0.0
        await keys.invalidate(by)
        shop.rows[VALUE]["is_invalidated"] = True
        assert (await keys.verify(VALUE)).reason == "invalidated"
        assert await early
        assert (await keys.verify(VALUE, max_age=60)).reason == "invalidated"

    run(main())


@pytest.mark.parametrize("by", [1, VALUE])
def test_a_look_up_while_a_change_is_under_way(by: int | str) -> None:
    """What it finds is the old state perhaps, and forgotten when the change ends."""
    shop = Shop(VALUE)

    async def main() -> None:
        keys = make_keys(shop)
        await keys.verify(VALUE, max_age=60)
        shop.seconds = 5.0
        change = asyncio.create_task(keys.invalidate(by))
        await asyncio.sleep(1.0)
        shop.seconds = 0.0
        assert await keys.verify(VALUE, max_age=60)
        await change
        shop.rows[VALUE]["is_invalidated"] = True
        assert (await keys.verify(VALUE, max_age=60)).reason == "invalidated"

    run(main())


def test_a_change_while_a_look_up_fails() -> None:
    """What was known when it began is no answer any more."""
    shop = Shop(VALUE)

    async def main() -> None:
        keys = make_keys(shop)
        await keys.verify(VALUE, stale_if_error=60)
        shop.seconds = 60.0
        late = asyncio.create_task(keys.verify(VALUE, stale_if_error=60))
        await asyncio.sleep(1.0)
        shop.seconds = 0.0
        await keys.invalidate(VALUE)
        with pytest.raises(RequestTimeoutError):
            await late

    run(main())


def test_a_change_of_other_keys_during_a_look_up() -> None:
    """What was found is remembered."""
    shop = Shop(VALUE, OTHER, seconds=2.0)

    async def main() -> None:
        keys = make_keys(shop)
        early = asyncio.create_task(keys.verify(VALUE, max_age=60))
        await asyncio.sleep(1.0)
        await keys.invalidate(OTHER)
        assert await early
        shop.asked.clear()
        assert await keys.verify(VALUE, max_age=60)
        assert shop.asked == []

    run(main())


def test_a_closed_client_remembers_nothing() -> None:
    """Its calls raise, and what was under way when it was closed is not remembered."""

    async def main() -> None:
        async with JunkieClient("any", base_url="http://127.0.0.1:1") as client:
            shop = Shop(VALUE, OTHER)
            vars(client.keys).update(_dispatcher=make_dispatcher(shop, ONCE))
            await client.keys.verify(VALUE, max_age=60)
            shop.seconds = 1.0
            late = asyncio.create_task(client.keys.verify(OTHER, max_age=60))
            await asyncio.sleep(0.5)
        assert await late
        assert len(client._look_ups._known._known) == 0
        await client.keys._dispatcher.close()
        for value in (VALUE, OTHER):
            with pytest.raises(ClientClosedError):
                await client.keys.verify(value, max_age=60, stale_if_error=60)

    run(main())


@pytest.mark.parametrize("name", ["max_age", "stale_if_error"])
@pytest.mark.parametrize("value", [-1, float("inf"), float("nan"), "5", None, True, 10**400])
def test_bad_seconds(name: str, value: Any) -> None:
    """They are refused before anything is sent."""
    shop = Shop(VALUE)
    with pytest.raises(InvalidRequestError) as caught:
        run(make_keys(shop).verify(VALUE, **{name: value}))
    assert (caught.value.field, shop.asked) == (name, [])


def test_the_longest_seconds() -> None:
    """Any finite number will do."""
    shop = Shop(VALUE)

    async def main() -> None:
        keys = make_keys(shop)
        for _ in range(2):
            assert await keys.verify(VALUE, max_age=sys.float_info.max)

    run(main())
    assert len(shop.asked) == 1


# --- in an outage ---------------------------------------------------------------------------------

TROUBLE: dict[str, Response | JunkieError] = {
    "refused": DOWN,
    "lost": TransportError("lost"),
    "timed out": RequestTimeoutError("timed out"),
    "500": (500, {}, b""),
    "503": (503, {"Retry-After": "60"}, b""),
    "522": (522, HTML, b"<html>"),
    "429": (429, {"Retry-After": "60"}, b""),
    "429 for long": (429, {"Retry-After": "3600"}, b""),
    "a challenge": (403, HTML, b"<html>"),
    "a page": (200, HTML, b"<html>"),
    "a redirect": (302, {"Location": "/sorry"}, b""),
    "half a body": (200, {}, b'{"key": {"id": 1'),
}


@pytest.mark.parametrize("name", TROUBLE)
def test_a_stale_answer(name: str) -> None:
    """It is given, and says so; without leave for it the call raises."""
    shop = Shop(VALUE)

    async def main() -> None:
        keys = make_keys(shop)
        await keys.verify(VALUE, stale_if_error=60)
        await asyncio.sleep(30)
        shop.trouble = TROUBLE[name]
        verdict = await keys.verify(VALUE, stale_if_error=60)
        assert (verdict.valid, verdict.stale) == (True, True)
        assert verdict.age == pytest.approx(30, abs=0.1)
        with pytest.raises(JunkieError):
            await keys.verify(VALUE)
        with pytest.raises(JunkieError):
            await keys.verify(VALUE, stale_if_error=20)
        with pytest.raises(JunkieError):
            await keys.verify(OTHER, stale_if_error=60)

    run(main())


@pytest.mark.parametrize(
    ("trouble", "error"),
    [
        ((401, {}, b"{}"), AuthenticationError),
        ((403, {}, b'{"error": "scope"}'), PermissionDeniedError),
        ((404, {}, b'{"error": "no route"}'), NotFoundError),
        ((400, {}, b"{}"), APIError),
        ((418, {}, b"{}"), APIError),
    ],
)
def test_what_is_no_outage(trouble: Response, error: type[JunkieError]) -> None:
    """The program has to be corrected, and would not be if it went on."""
    shop = Shop(VALUE)

    async def main() -> None:
        keys = make_keys(shop)
        await keys.verify(VALUE, stale_if_error=60)
        shop.trouble = trouble
        with pytest.raises(error):
            await keys.verify(VALUE, stale_if_error=60)

    run(main())


def test_an_outage_is_an_outage() -> None:
    """No error of a program's own, and none about the key."""
    outages = [ConnectError(), ServerError(), RateLimitError(), InvalidResponseError()]
    assert all(map(is_outage, [*outages, PermissionDeniedError(challenge=True)]))
    assert not any(
        map(is_outage, [InvalidRequestError(), PermissionDeniedError(), NotFoundError()])
    )


def test_a_stale_key_that_has_expired() -> None:
    """It is expired, by its own date."""
    shop = Shop(VALUE)
    start = datetime.now(UTC).replace(microsecond=0)
    shop.headers["Date"] = format_datetime(start, usegmt=True)
    shop.rows[VALUE]["expires_at"] = (start + timedelta(seconds=30)).isoformat()

    async def main() -> None:
        keys = make_keys(shop)
        assert await keys.verify(VALUE, stale_if_error=600)
        shop.trouble = DOWN
        assert (await keys.verify(VALUE, stale_if_error=600)).valid
        await asyncio.sleep(31)
        verdict = await keys.verify(VALUE, stale_if_error=600)
        assert (verdict.reason, verdict.stale) == ("expired", True)

    run(main())


def test_a_service_that_hangs() -> None:
    """The first calls take 3 s, the others nothing; one call in 5 s asks it."""
    shop = Shop(VALUE, OTHER)

    async def seconds(keys: Keys, value: str) -> float:
        begin = now()
        assert (await keys.verify(value, stale_if_error=3600)).stale
        return round(now() - begin)

    async def main() -> None:
        keys = make_keys(shop, RetryPolicy())
        keys.deadline = 10.0
        for value in (VALUE, OTHER):
            await keys.verify(value, stale_if_error=3600)
        shop.seconds = 3600.0
        first = await asyncio.gather(*(seconds(keys, value) for value in (VALUE, OTHER)))
        assert first == [3, 3]
        shop.asked.clear()
        took = []
        for _ in range(16):
            took.append(await seconds(keys, VALUE))
            await asyncio.sleep(0.5)
        assert sum(took) == 3  # the probe
        assert len(shop.asked) == 1
        await asyncio.sleep(5.0)
        later = await asyncio.gather(*(seconds(keys, value) for value in (VALUE, OTHER)))
        assert sorted(later) == [0, 3]  # one of them is the probe

    run(main())


def test_the_service_answers_again(caplog: pytest.LogCaptureFixture) -> None:
    """That is noticed within 5 s, and the log says both once."""
    shop = Shop(VALUE)
    caplog.set_level(logging.WARNING, "junkie_async")

    async def main() -> None:
        keys = make_keys(shop)
        await keys.verify(VALUE, stale_if_error=3600)
        shop.trouble = DOWN
        for _ in range(50):
            assert (await keys.verify(VALUE, stale_if_error=3600)).stale
            await asyncio.sleep(0.2)
        assert len(shop.asked) <= 5
        shop.trouble = None
        await asyncio.sleep(5)
        for _ in range(5):
            assert not (await keys.verify(VALUE, stale_if_error=3600)).stale

    run(main())
    assert len(caplog.records) == 2
    assert VALUE not in caplog.text


def test_instant_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test of an app need not wait for 5 s until its keys are asked for again."""
    monkeypatch.setenv("JUNKIE_TEST_INSTANT_WAITS", "1")
    shop = Shop(VALUE)

    async def main() -> None:
        client = JunkieClient("any", base_url="http://127.0.0.1:1")
        vars(client.keys).update(_dispatcher=make_dispatcher(shop, ONCE))
        await client.keys.verify(VALUE, stale_if_error=3600)
        shop.trouble = DOWN
        assert (await client.keys.verify(VALUE, stale_if_error=3600)).stale
        shop.trouble = None
        assert (await client.keys.verify(VALUE, stale_if_error=3600)).stale
        await asyncio.sleep(0.01)
        assert not (await client.keys.verify(VALUE, stale_if_error=3600)).stale

    run(main())


def test_the_trouble_of_one_key_is_not_the_others() -> None:
    """Whoever can make the look-up of their own key fail keeps no revoked key alive."""
    shop = Shop(VALUE, OTHER)

    async def main() -> None:
        keys = make_keys(shop)
        for value in (VALUE, OTHER):
            await keys.verify(value, stale_if_error=3600)
        for _ in range(20):
            shop.trouble = (500, {}, b"")
            assert (await keys.verify(OTHER, stale_if_error=3600)).stale
            with pytest.raises(ServerError):
                await keys.verify("JNK-UNKNOWN", stale_if_error=3600)
            shop.trouble = None
            assert not (await keys.verify(VALUE, stale_if_error=3600)).stale

    run(main())


def test_the_trouble_of_unknown_keys_puts_no_probe_off() -> None:
    """A visitor who types what the service chokes on does not hide that it works again."""
    shop = Shop(VALUE)

    async def main() -> None:
        keys = make_keys(shop)
        await keys.verify(VALUE, stale_if_error=3600)
        shop.trouble = DOWN
        assert (await keys.verify(VALUE, stale_if_error=3600)).stale
        for _ in range(6):
            shop.trouble = (500, {}, b"")
            with pytest.raises(ServerError):
                await keys.verify("JNK-UNKNOWN", stale_if_error=3600)
            shop.trouble = None
            await asyncio.sleep(1)
        assert not (await keys.verify(VALUE, stale_if_error=3600)).stale

    run(main())


def test_unknown_keys_do_not_push_out_known_ones() -> None:
    """However many somebody types."""
    shop = Shop(VALUE)

    async def main() -> None:
        keys = make_keys(shop)
        await keys.verify(VALUE, stale_if_error=3600)
        for number in range(2000):
            assert not await keys.verify(f"JNK-{number}", stale_if_error=3600, max_age=60)
        shop.trouble = DOWN
        assert (await keys.verify(VALUE, stale_if_error=3600)).stale

    run(main())


def test_calls_with_other_options_keep_what_these_need() -> None:
    """A shorter ``max_age`` elsewhere in the program does not shorten the time in an outage."""
    shop = Shop(VALUE)

    async def main() -> None:
        keys = make_keys(shop)
        await keys.verify(OTHER, stale_if_error=3600)
        await keys.verify(VALUE)
        await asyncio.sleep(600)
        shop.trouble = DOWN
        assert (await keys.verify(VALUE, stale_if_error=3600)).stale

    run(main())


def test_no_value_is_kept() -> None:
    """What is remembered has neither the value nor a hash that others could compute."""
    shop = Shop(VALUE)

    async def main() -> str:
        keys = make_keys(shop)
        await keys.verify(VALUE, max_age=60)
        known = keys._look_ups._known._known
        assert len(known) == 1
        return repr([(name, value, value.key.key_value) for name, value in known.items()])

    shown, again = run(main()), run(main())
    assert VALUE not in shown
    assert shown.partition(",")[0] != again.partition(",")[0]
