"""The models: a key's status, what its repr hides, and that models behave as values."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from junkie_async import (
    HWID,
    UNSET,
    ActionResult,
    BulkDeleteResult,
    CreateReport,
    DeleteReport,
    DiscordRedemption,
    Drift,
    Key,
    KeyBatch,
    KeyDetailed,
    KeyFolder,
    KeyOutcome,
    KeyPage,
    KeyStats,
    KeyStatus,
    NotFoundError,
    OutcomeStatus,
    Pagination,
    Unset,
    UpdateReport,
    UpdateResult,
    Verdict,
    VerdictReason,
)

NOON = datetime(2024, 5, 17, 12, tzinfo=UTC)
TICK = timedelta(microseconds=1)
NEVER, LONG_AGO = datetime(9999, 1, 1, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC)

moments = st.datetimes(
    min_value=datetime(1900, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2200, 1, 1),  # noqa: DTZ001 - likewise
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=2)), timezone(timedelta(hours=-11))]),
)
near = st.sampled_from([NOON - TICK, NOON, NOON + TICK])


@given(
    invalidated=st.booleans(),
    expires_at=st.none() | near | moments,
    used_at=st.none() | moments,
    at=st.just(NOON) | moments,
    one_time_use=st.booleans(),
)
@example(invalidated=True, expires_at=NOON - TICK, used_at=NOON, at=NOON, one_time_use=True)
@example(invalidated=False, expires_at=NOON, used_at=NOON, at=NOON, one_time_use=True)
@example(invalidated=False, expires_at=NOON + TICK, used_at=NOON, at=NOON, one_time_use=False)
@example(invalidated=False, expires_at=NOON + TICK, used_at=None, at=NOON, one_time_use=True)
def test_status_precedence(
    *,
    invalidated: bool,
    expires_at: datetime | None,
    used_at: datetime | None,
    at: datetime,
    one_time_use: bool,
) -> None:
    """Invalidated goes before expired, expired before used, and only what is none is active."""
    key = Key(
        id=1,
        key_value="v",
        is_invalidated=invalidated,
        expires_at=expires_at,
        used_at=used_at,
        one_time_use=one_time_use,
    )
    holds = {
        KeyStatus.INVALIDATED: invalidated,
        KeyStatus.EXPIRED: expires_at is not None and at >= expires_at,
        KeyStatus.USED: used_at is not None,
        KeyStatus.ACTIVE: True,
    }
    assert key.status_at(at) is key.status_at(moment=at)
    assert key.status_at(at) is next(status for status, true in holds.items() if true)


@pytest.mark.parametrize(
    ("expires_at", "status", "expired"),
    [
        (None, KeyStatus.ACTIVE, False),
        (NEVER, KeyStatus.ACTIVE, False),
        (LONG_AGO, KeyStatus.EXPIRED, True),
    ],
)
def test_expiry_is_decided_now(
    expires_at: datetime | None, status: KeyStatus, *, expired: bool
) -> None:
    """Without a moment, expiry is decided by the clock."""
    key = Key(id=1, key_value="v", expires_at=expires_at)
    assert key.status is status
    assert key.is_expired is expired
    invalidated = attrs.evolve(key, is_invalidated=True)
    assert invalidated.is_expired is expired
    assert invalidated.status is KeyStatus.INVALIDATED


def test_expires_in() -> None:
    """The time left runs down to zero and stays there; None without an expiry."""
    before = datetime.now(UTC)
    left = Key(id=1, key_value="v", expires_at=NEVER).expires_in
    after = datetime.now(UTC)
    assert left is not None
    assert NEVER - after <= left <= NEVER - before
    assert Key(id=1, key_value="v", expires_at=LONG_AGO).expires_in == timedelta(0)
    assert Key(id=1, key_value="v").expires_in is None


# Letters that no field name has, so that a match can only be the value itself.
secrets = st.text(st.characters(codec="utf-8", exclude_characters="…"), min_size=16).filter(
    lambda value: not value.isascii() or any(letter in "#$@^~" for letter in value)
)


@given(secrets)
@example("JNK-#0123456789")
@example("#" * 16)
def test_repr_hides_key_values(value: str) -> None:
    """No repr of whatever holds keys shows a whole key value, or enough of it to use it."""
    key = Key(id=7, key_value=value)
    detailed = KeyDetailed(id=7, key_value=value)
    holders: list[object] = [
        key,
        detailed,
        KeyPage(keys=(key,)),
        [key],
        KeyBatch(keys=(value,), count=1),
        CreateReport(requested=1, keys=(value,)),
    ]
    for holder in holders:
        for shown in (repr(holder), str(holder)):
            assert value not in shown
            assert value[5:-4] not in shown or len(value) < 24
    assert str(key.key_value) == f"{key.key_value}" == value


@given(st.text(alphabet="#$@^~", min_size=1, max_size=15))
def test_repr_hides_short_values_whole(value: str) -> None:
    """Of a short key value, not even the ends are shown."""
    assert not set(value) & set(repr(Key(id=7, key_value=value)))


def test_repr_tells_keys_apart() -> None:
    """The ID, and the ends of a long value, are there to recognise a key by."""
    shown = repr(Key(id=7, key_value="JNK-0123456789abcdef"))
    assert "id=7" in shown
    assert "JNK-…cdef" in shown
    assert "2 keys" in repr(KeyBatch(keys=("a", "b"), count=2))
    assert "2 keys" in repr(CreateReport(requested=2, keys=("a", "b")))


KEY = Key(id=7, key_value="JNK", hwids=(HWID(hwid="PC"),), keys_hwid=("PC",), created_at=NOON)
VALUES: list[Any] = [
    HWID(hwid="PC", bound_at=NOON),
    DiscordRedemption(discord_user_id="1"),
    KeyFolder(id=1, name="f"),
    KEY,
    KeyDetailed(id=7, key_value="JNK", discord_redemption=DiscordRedemption()),
    Pagination(page=1),
    KeyPage(keys=(KEY,)),
    KeyBatch(keys=("a",), count=1, config={"provider_id": 1}),
    BulkDeleteResult(deleted=1, requested=2),
    ActionResult(success=False, message="no"),
    UpdateResult(keys_hwid=("PC",)),
    CreateReport(requested=1, keys=("a",)),
    DeleteReport(requested=1, deleted=1),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values(value: Any) -> None:
    """A model can't be changed; it hashes, compares, copies and pickles by what it holds."""
    name = attrs.fields(type(value))[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, name, None)
    with pytest.raises(AttributeError):
        value.no_such_field = 1
    with pytest.raises(TypeError):
        type(value)(1)
    for twin in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value), attrs.evolve(value)):
        assert twin == value
        assert hash(twin) == hash(value)
        assert len({twin, value}) == 1
    assert attrs.evolve(value, **{name: None}) != value


def test_a_page_is_a_sequence() -> None:
    """It has the length, items, slices and order of its keys, and is falsy without any."""
    keys = tuple(Key(id=row, key_value="v") for row in range(3))
    page = KeyPage(keys=keys)
    assert isinstance(page, Sequence)
    assert (len(page), page[0], page[-1], page[1:]) == (3, keys[0], keys[2], keys[1:])
    assert [*page] == [*keys]
    assert [*reversed(page)] == [*reversed(keys)]
    assert keys[1] in page
    assert Key(id=9, key_value="v") not in page
    assert (page.index(keys[2]), page.count(keys[2])) == (2, 1)
    assert page
    assert not KeyPage(pagination=Pagination(total=3))
    with pytest.raises(IndexError):
        page[3]


async def test_a_page_is_not_walked_over() -> None:
    """`async for` would give one page's keys for all of the list's, so it raises."""
    with pytest.raises(TypeError):
        async for _ in KeyPage(keys=(KEY,)):  # type: ignore[attr-defined]
            pass


# --- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_to_dict_is_safe_for_json(value: Any) -> None:
    """What json writes and reads again is the same, and msgspec makes the same model of it."""
    document = value.to_dict()
    names = [field.name for field in attrs.fields(type(value))]
    computed = {Key: ["status"], KeyDetailed: ["status"], CreateReport: ["created"]}
    assert [*document] == [*names, *computed.get(type(value), [])]
    assert json.loads(json.dumps(document)) == document
    assert msgspec.convert(document, type(value)) == value


def test_to_dict_of_a_key() -> None:
    """Datetimes are ISO 8601 in UTC, models inside are dicts, and nothing is masked."""
    abroad = timezone(timedelta(hours=2))
    key = KeyDetailed(
        id=7,
        key_value="JNK-0123456789abcdef",
        created_at=datetime(2024, 5, 17, 14, 0, 0, 7, abroad),
        hwids=(HWID(hwid="PC"),),
    )
    document = key.to_dict()
    assert document["key_value"] == "JNK-0123456789abcdef"
    assert document["created_at"] == "2024-05-17T12:00:00.000007Z"
    assert document["hwids"] == [HWID(hwid="PC").to_dict()]
    assert document["discord_redemption"] is None
    assert document["status"] == "active"


def test_to_dict_of_verdicts_and_outcomes() -> None:
    """Enums are their values, and an error is its text."""
    verdict = Verdict(reason=VerdictReason.EXPIRED, key=KEY).to_dict()
    assert (verdict["valid"], verdict["reason"], verdict["key"]) == (
        False,
        "expired",
        KEY.to_dict(),
    )
    outcome = KeyOutcome(key=7, status=OutcomeStatus.NOT_FOUND, error=NotFoundError("none"))
    assert UpdateReport(requested=1, outcomes=(outcome,)).to_dict()["outcomes"] == [
        {"key": 7, "status": "not found", "error": "none", "result": None}
    ]


def test_to_dict_of_stats() -> None:
    """Statuses and dates name the counts."""
    stats = KeyStats(
        as_of=NOON, by_status={KeyStatus.USED: 1}, expiring={NOON.date(): 2}, drift=Drift(changes=1)
    ).to_dict()
    assert stats["as_of"] == "2024-05-17T12:00:00Z"
    assert (stats["by_status"], stats["expiring"]) == ({"used": 1}, {"2024-05-17": 2})
    assert stats["drift"]["changes"] == 1
    assert json.loads(json.dumps(stats)) == stats


def test_create_report_counts_its_keys() -> None:
    """`created` counts the keys in the report."""
    assert CreateReport(requested=3, keys=("a", "b"), failed=1).created == 2


def test_unset() -> None:
    """UNSET is one thing, falsy, and stays that through pickle and copies."""
    assert repr(UNSET) == "UNSET"
    assert not UNSET
    assert UNSET is Unset.UNSET
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(UNSET, protocol)) is UNSET
    assert copy.copy(UNSET) is copy.deepcopy([UNSET])[0] is UNSET


def test_statuses_are_the_filters_words() -> None:
    """A status is a string, as the list filter spells it."""
    assert [f"{status}" for status in KeyStatus] == ["active", "used", "expired", "invalidated"]
    assert KeyStatus("used") is KeyStatus.USED
