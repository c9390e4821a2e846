"""Verdicts: what they say of a key, and what they are made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest

from junkie_async import (
    HWID,
    InvalidRequestError,
    JunkieError,
    Key,
    Keys,
    NotFoundError,
    RetryPolicy,
    ServerError,
    Verdict,
    VerdictReason,
)
from junkie_async._http.transport import Response
from junkie_async._protocol.fields import Claims, validate_fields
from junkie_async._verification.verdict import evaluate

from .clock import run
from .scripted import Script, make_dispatcher

NOW = datetime.now(UTC)
PAST, FUTURE = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
OWNER = 123456789012345678


def key(**fields: Any) -> Key:
    """Make a key that has nothing against it."""
    return Key(id=7, key_value="JNK-7", service_id=1, discord_id=str(OWNER), **fields)


@pytest.mark.parametrize(
    ("fields", "claims", "reason"),
    [
        ({}, {}, None),
        ({"expires_at": FUTURE}, {}, None),
        ({"expires_at": PAST}, {}, "expired"),
        ({"is_invalidated": True}, {}, "invalidated"),
        ({"is_invalidated": True, "expires_at": PAST}, {}, "invalidated"),
        ({"used_at": PAST}, {}, None),
        ({"one_time_use": True}, {}, None),
        ({"one_time_use": True, "used_at": PAST}, {}, "used_up"),
        ({}, {"service_id": 1, "discord_id": OWNER}, None),
        ({}, {"discord_id": str(OWNER)}, None),
        ({}, {"service_id": 2}, "wrong_service"),
        ({}, {"discord_id": OWNER + 1}, "wrong_discord_user"),
        ({}, {"premium": True}, "not_premium"),
        ({}, {"premium": False}, None),
        ({"is_premium": True}, {"premium": True}, None),
        ({"is_premium": True}, {"premium": False}, None),
        # devices
        ({}, {"hwid": "A"}, None),
        ({"hwid_limit": 1}, {"hwid": "A"}, None),
        ({"hwid_limit": 0}, {"hwid": "A"}, None),  # unlimited, as null is
        ({"keys_hwid": ("A", "C"), "hwid_limit": 0}, {"hwid": "B"}, None),
        ({"keys_hwid": ("A",), "hwid_limit": 1}, {"hwid": "A"}, None),
        ({"hwids": (HWID(hwid="A"),), "hwid_limit": 1}, {"hwid": "A"}, None),
        ({"keys_hwid": ("A",), "hwid_limit": 1}, {"hwid": "B"}, "hwid_mismatch"),
        ({"hwids": (HWID(hwid="A"),), "hwid_limit": 1}, {"hwid": "B"}, "hwid_mismatch"),
        ({"keys_hwid": ("A",)}, {"hwid": "B"}, None),
        ({"keys_hwid": ("A",), "hwid_limit": 2}, {"hwid": "B"}, None),
        ({"keys_hwid": ("A", "C"), "hwid_limit": 2}, {"hwid": "B"}, "hwid_limit"),
        ({"keys_hwid": ("A", "C")}, {"hwid": "B"}, None),
        ({"keys_hwid": ("A",), "hwid_limit": 1}, {"hwid": "a"}, "hwid_mismatch"),
        ({"keys_hwid": ("A",), "hwid_limit": 1, "no_hwid": True}, {"hwid": "B"}, None),
        # the first of several, in the order of the enum
        ({"keys_hwid": ("A",), "hwid_limit": 1}, {"hwid": "B", "service_id": 2}, "hwid_mismatch"),
        ({}, {"service_id": 2, "premium": True, "discord_id": OWNER + 1}, "wrong_service"),
        ({}, {"premium": True, "discord_id": OWNER + 1}, "not_premium"),
    ],
)
def test_judgement(fields: dict[str, Any], claims: dict[str, Any], reason: str | None) -> None:
    """A key is good unless something that is asked of it does not hold."""
    judged = key(**fields)
    verdict = evaluate(judged, validate_fields(Claims, "verify", claims))
    expected = None if reason is None else VerdictReason(reason)
    assert verdict == Verdict(reason=expected, key=judged)
    assert verdict.valid is bool(verdict) is (reason is None)


@pytest.mark.parametrize("claims", [Claims(service_id=1), Claims(discord_id=OWNER)])
def test_nobodys_key_is_not_somebodys(claims: Claims) -> None:
    """What a key does not say of itself is not taken for a yes."""
    assert not evaluate(Key(id=1, key_value="k"), claims)


def test_no_key() -> None:
    """Nothing is there to look at."""
    verdict = evaluate(None, Claims(premium=True))
    assert (verdict.valid, verdict.reason, verdict.key) == (False, VerdictReason.NOT_FOUND, None)


def test_reasons_are_words() -> None:
    """They can be sent as JSON, and a verdict's repr masks the key value."""
    assert VerdictReason.NOT_FOUND.value == "not_found"
    assert len(VerdictReason) == 9
    shown = repr(evaluate(Key(id=1, key_value="JNK-0123456789-SECRET"), Claims()))
    assert "0123456789" not in shown


# --- how a key is looked up -----------------------------------------------------------------------


def answer(status: int, body: object) -> Response:
    """Make an answer."""
    return status, {}, msgspec.json.encode(body)


def page(*values: str) -> Response:
    """Make a page of keys."""
    rows = [{"id": number, "key_value": value} for number, value in enumerate(values, 1)]
    return answer(200, {"keys": rows, "pagination": {"total": 5000, "totalPages": 50, "page": 1}})


GONE = answer(404, {"error": "Key not found"})


def verified(key_value: Any, *answers: Response, **claims: Any) -> tuple[Verdict, int]:
    """Verify a key over a script; give the verdict, and how many requests it took."""
    script = Script(*answers)

    async def main() -> Verdict:
        return await Keys(make_dispatcher(script, RetryPolicy(attempts=1))).verify(
            key_value, **claims
        )

    verdict: list[Verdict] = []

    async def keep() -> None:
        verdict.append(await main())

    run(keep())
    assert script.steps == []
    return verdict[0], len(script.began)


def test_one_request_for_a_key_that_is_there() -> None:
    """The service finds it by its value."""
    found = answer(200, {"key": {"id": 1, "key_value": "JNK", "is_premium": True}})
    verdict, requests = verified("JNK", found, premium=True)
    assert (verdict.valid, requests) == (True, 1)
    assert verdict.key is not None
    assert verdict.key.id == 1


def test_two_requests_for_one_that_is_not() -> None:
    """However many keys have its value as a part of theirs: anybody may type in a "J"."""
    verdict, requests = verified("J", GONE, page("JNK-1", "JNK-2"))
    assert (verdict.reason, requests) == (VerdictReason.NOT_FOUND, 2)
    verdict, requests = verified("J", GONE, page("JNK-1", "J"))  # created just then
    assert (verdict.valid, requests) == (True, 2)


def test_a_gateway_says_404_too() -> None:
    """Where the list is not found either, nobody has looked for the key."""
    with pytest.raises(NotFoundError) as caught:
        verified("JNK", GONE, GONE)
    assert (caught.value.path, caught.value.__context__) == ("/keys", None)


@pytest.mark.parametrize("status", [401, 403, 429, 500, 502, 503, 520])
@pytest.mark.parametrize("before", [(), (GONE,)])
def test_an_outage_is_no_verdict(status: int, before: tuple[Response, ...]) -> None:
    """It raises, so that no paying user is told that their key is bad."""
    with pytest.raises(JunkieError) as caught:
        verified("JNK", *before, answer(status, {}))
    assert not isinstance(caught.value, NotFoundError)
    assert getattr(caught.value, "status", None) == status


def test_another_key_is_never_taken_for_it() -> None:
    """Whatever the service takes for the same value."""
    other = answer(200, {"key": {"id": 1, "key_value": "jnk"}})
    verdict, _ = verified("JNK", other)
    assert verdict.reason is VerdictReason.NOT_FOUND


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", ".", "..", "a\nb", "\0", "\ud800", "\u2028"),
        *("7" * 1025, "\\" * 40_000, "x" * 9000, "\U0001f600" * 257),
    ],
    ids=lambda value: f"{value[:2]!a}x{len(value)}",
)
def test_what_can_be_no_value_is_not_found(value: str) -> None:
    """Anybody may type in anything; it is not sent."""
    verdict, requests = verified(value)
    assert (verdict.reason, requests) == (VerdictReason.NOT_FOUND, 0)
    assert verdict.looked_for == value


def test_digits_are_a_value() -> None:
    """The service would read them as an ID, so the key is looked for in the list."""
    rows = [{"id": 9, "key_value": "123"}]
    listed = answer(200, {"keys": rows, "pagination": {"total": 1, "totalPages": 1, "page": 1}})
    verdict, requests = verified("123", listed)
    assert (verdict.valid, requests) == (True, 1)
    assert verdict.key is not None
    assert verdict.key.id == 9


@pytest.mark.parametrize(
    ("value", "claims", "field"),
    [
        (5, {}, "key_value"),
        (None, {}, "key_value"),
        (Key(id=1, key_value="k"), {}, "key_value"),
        ("k", {"hwid": ""}, "hwid"),
        ("k", {"hwid": 5}, "hwid"),
        ("k", {"hwid": "x" * 256}, "hwid"),
        ("k", {"discord_id": 5}, "discord_id"),
        ("k", {"discord_id": "me"}, "discord_id"),
        ("k", {"service_id": "5"}, "service_id"),
        ("k", {"service_id": True}, "service_id"),
        ("k", {"premium": 1}, "premium"),
        ("k", {"premium": "yes"}, "premium"),
    ],
)
def test_bad_arguments(value: Any, claims: dict[str, Any], field: str) -> None:
    """What the program passes is checked like that of all calls, before anything is sent."""
    with pytest.raises(InvalidRequestError) as caught:
        verified(value, **claims)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "pasted",
    [
        *(
            " JNK",
            "JNK ",
            "JNK\n",
            "\r\nJNK\t",
            "\xa0JNK\xa0",
            "JNK\u200b",
            "\ufeffJNK",
            "\u2003JNK",
        ),
        *(
            "`JNK`",
            "```\nJNK\n```",
            '"JNK"',
            "'JNK'",
            "\u201cJNK\u201d",
            "\xabJNK\xbb",
            " \u200b`JNK` ",
        ),
    ],
    ids=ascii,
)
def test_what_was_pasted_around_a_value(pasted: str) -> None:
    """The value as given comes first, if it can be one; then what is left without its edges."""
    found = answer(200, {"key": {"id": 1, "key_value": "JNK"}})
    is_sendable = not any(letter < " " for letter in pasted)
    verdict, requests = verified(pasted, *([GONE, page()] if is_sendable else []), found)
    assert (verdict.valid, verdict.looked_for) == (True, "JNK")
    assert requests == (3 if is_sendable else 1)


def test_a_value_with_such_edges_comes_first() -> None:
    """Somebody's key may really begin with a quote."""
    found = answer(200, {"key": {"id": 1, "key_value": "'JNK'"}})
    verdict, requests = verified("'JNK'", found)
    assert (verdict.valid, verdict.looked_for, requests) == (True, "'JNK'", 1)


def test_a_verdict_says_what_was_looked_for() -> None:
    """Its repr masks that, as it masks the key."""
    verdict, requests = verified(" JNK-0123456789-SECRET ", GONE, page(), GONE, page())
    assert (verdict.looked_for, requests) == ("JNK-0123456789-SECRET", 4)
    assert "0123456789" not in repr(verdict)
    assert "looked_for='" not in repr(verdict)
    assert "looked_for=…" in repr(evaluate(None, Claims(), looked_for="JNK-1"))
    assert "looked_for=None" in repr(evaluate(None, Claims()))


def test_the_services_clock_judges() -> None:
    """A local clock may be minutes off, in either direction."""
    expires = NOW.replace(microsecond=0) + timedelta(hours=5)
    for service_time, reason in (expires - timedelta(seconds=1), None), (expires, "expired"):
        row = {"id": 1, "key_value": "JNK", "expires_at": expires.isoformat()}
        status, _, body = answer(200, {"key": row})
        headers = {"Date": format_datetime(service_time, usegmt=True)}
        verdict, _ = verified("JNK", (status, headers, body))
        assert verdict.reason == reason


@pytest.mark.parametrize(("value", "before"), [("JNK", ()), ("JNK", (GONE,)), ("123", ())])
def test_no_error_shows_the_device(value: str, before: tuple[Response, ...]) -> None:
    """It is not sent, but the service may name it: it knows the devices of the key."""
    refusal = answer(400, {"error": "the key is bound to DEVICE-0123456789"})
    with pytest.raises(JunkieError) as caught:
        verified(value, *before, refusal, hwid="DEVICE-0123456789")
    assert "0123456789" not in f"{caught.value} {caught.value!r}"
    assert "***" in caught.value.message


def test_a_failing_service_is_named() -> None:
    """The error is that of the call."""
    with pytest.raises(ServerError) as caught:
        verified("JNK", answer(500, {}))
    assert (caught.value.method, caught.value.path) == ("GET", "/keys/{keyId}")
