"""Rows are checked against the filters that were sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from junkie_async import HWID, BatchError, InvalidResponseError, JunkieClient, Key, Outcome
from junkie_async._protocol.fields import Filters, validate_fields
from junkie_async._protocol.filter_checks import check_rows
from junkie_async.emulator import Emulator, Faults

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LAST = datetime.max.replace(tzinfo=UTC)
OWNER = "123456789012345678"
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


def refused(filters: dict[str, Any], fields: dict[str, Any], *, certain: bool) -> str | None:
    """Check a key with these fields; give the field of the error."""
    keys = [Key(id=1, key_value="JNK-Abc", **fields)]
    try:
        check_rows(validate_fields(Filters, "list", filters), keys, NOW, certain=certain)
    except InvalidResponseError as error:
        return error.field
    return None


MATCHES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"discord_id": OWNER}, {"discord_id": OWNER}),
    ({"discord_id": int(OWNER)}, {"discord_id": OWNER}),
    ({"service_id": 7}, {"service_id": 7}),
    ({"folder_id": 0}, {"folder_id": 0}),
    ({"key": "K-aB"}, {}),  # databases ignore case
    ({"hwid": "pc"}, {"keys_hwid": ("x", "MY-PC-1")}),
    ({"hwid": "pc"}, {"hwids": (HWID(hwid="PC"),)}),
    ({"status": "invalidated"}, {"is_invalidated": True}),
    ({"status": "expired"}, {"expires_at": NOW - HOUR}),
    ({"status": "used"}, {"used_at": NOW - HOUR}),
    ({"status": "active"}, {}),
    ({"status": "active"}, {"expires_at": NOW + HOUR}),
    ({"status": "active"}, {"expires_at": NOW}),  # expired while the page was on its way
    ({"expires_before": NOW}, {"expires_at": NOW - HOUR}),
    ({"expires_after": NOW}, {"expires_at": NOW + HOUR}),
    ({"expires_after": NOW}, {"expires_at": LAST}),
    ({"expires_before": LAST}, {"expires_at": NOW}),
    ({"status": "expired"}, {"expires_at": NOW + MINUTE}),
    ({"status": "active"}, {"expires_at": NOW - MINUTE + SECOND}),
    ({"expires_before": NOW}, {"expires_at": NOW + MINUTE}),
    ({"expires_after": NOW}, {"expires_at": NOW - MINUTE}),
]
CONTRADICTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"discord_id": OWNER}, {"discord_id": "876543210987654321"}),
    ({"service_id": 7}, {"service_id": 8}),
    ({"provider_id": 7}, {"provider_id": 70}),
    ({"folder_id": 0}, {"folder_id": 3}),
    ({"key": " "}, {}),
    ({"key": "XYZ"}, {}),
    ({"hwid": "pc"}, {"keys_hwid": ("phone",)}),
    ({"status": "invalidated"}, {}),
    ({"status": "expired"}, {"expires_at": NOW + HOUR}),
    ({"status": "active"}, {"expires_at": NOW - HOUR}),
    ({"status": "active"}, {"is_invalidated": True}),
    ({"expires_before": NOW}, {"expires_at": NOW + HOUR}),
    ({"expires_after": NOW}, {"expires_at": NOW - HOUR}),
    ({"status": "expired"}, {"expires_at": NOW + MINUTE + SECOND}),
    ({"status": "active"}, {"expires_at": NOW - MINUTE}),
    ({"expires_before": NOW}, {"expires_at": NOW + MINUTE + SECOND}),
    ({"expires_after": NOW}, {"expires_at": NOW - MINUTE - SECOND}),
]
UNKNOWN: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"discord_id": OWNER}, {}),
    ({"service_id": 7}, {}),
    ({"folder_id": 0}, {}),
    ({"hwid": "pc"}, {}),
    ({"status": "expired"}, {}),
    ({"status": "used"}, {}),
    ({"expires_before": NOW}, {}),
    ({"expires_after": NOW}, {}),
]


@pytest.mark.parametrize(("filters", "fields"), MATCHES)
def test_a_match(filters: dict[str, Any], fields: dict[str, Any]) -> None:
    """A key that has what was asked for passes."""
    assert refused(filters, fields, certain=True) is None


@pytest.mark.parametrize(("filters", "fields"), CONTRADICTS)
def test_a_contradiction(filters: dict[str, Any], fields: dict[str, Any]) -> None:
    """A key that has something else is refused in every call; the error names the filter."""
    for certain in (False, True):
        assert refused(filters, fields, certain=certain) == next(iter(filters))


@pytest.mark.parametrize(("filters", "fields"), UNKNOWN)
def test_a_row_that_does_not_tell(filters: dict[str, Any], fields: dict[str, Any]) -> None:
    """It may be read, but it is neither counted nor deleted."""
    assert refused(filters, fields, certain=False) is None
    assert refused(filters, fields, certain=True) == next(iter(filters))


@pytest.mark.parametrize(("filters", "fields"), UNKNOWN)
def test_a_null_in_a_whole_row(filters: dict[str, Any], fields: dict[str, Any]) -> None:
    """A row with all that every key has leaves nothing out: the null was meant."""
    whole = {"provider_id": 42, "created_at": NOW, **fields}
    assert refused(filters, whole, certain=False) == next(iter(filters))


async def test_a_loop_that_deletes_by_a_skipped_filter() -> None:
    """The form that people write deletes nothing either."""
    for filters in {"folder_id": 5}, {"status": "expired"}, {"hwid": "PC"}:
        async with (
            Emulator(faults=Faults(ignored_filters=tuple(filters))) as emulator,
            JunkieClient("any", base_url=emulator.url) as junkie,
        ):
            await emulator.seed(300)
            keys = junkie.keys
            with pytest.raises(BatchError):
                await keys.delete_many(key async for key in keys.list(**filters))
            assert await emulator.count() == 300


def test_one_of_many_is_enough() -> None:
    """A page is refused for its only stranger."""
    keys = [Key(id=number, key_value="k", service_id=7 + (number == 50)) for number in range(100)]
    with pytest.raises(InvalidResponseError) as caught:
        check_rows({"service_id": 7}, keys, NOW, certain=False)
    assert (caught.value.outcome, caught.value.transient) == (Outcome.EXECUTED, False)


@pytest.mark.parametrize(
    "filters", [{"folder_id": 1}, {"service_id": 8}, {"status": "expired"}, {"key": "NOBODYS"}]
)
async def test_a_service_that_skips_a_filter(filters: dict[str, Any]) -> None:
    """Nothing is deleted or counted by it."""
    faults = Faults(ignored_filters=tuple(filters))
    async with (
        Emulator(faults=faults) as emulator,
        JunkieClient("any", base_url=emulator.url) as junkie,
    ):
        await emulator.seed(300, service_id=7, provider_id=42, expires_at=None, folder_id=None)
        keys = junkie.keys
        for call in (
            keys.purge(**filters),
            keys.list(**filters).count(),
            keys.delete_many(keys.list(**filters)),
        ):
            with pytest.raises((InvalidResponseError, BatchError)) as caught:
                await call
            refusal = caught.value.__cause__ or caught.value
            assert isinstance(refusal, InvalidResponseError)
            assert refusal.field == next(iter(filters))
        assert await emulator.count() == 300


async def test_a_falsy_value_that_is_skipped() -> None:
    """`purge(folder_id=0)` deletes neither the keys of all folders, nor those of none."""
    async with (
        Emulator(faults=Faults(ignored_filters="folder_id")) as emulator,
        JunkieClient("any", base_url=emulator.url) as junkie,
    ):
        await emulator.seed(5)
        with pytest.raises(InvalidResponseError):
            await junkie.keys.purge(folder_id=0)
        assert await emulator.count() == 5
