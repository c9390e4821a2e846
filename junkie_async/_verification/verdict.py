"""The verdict: whether a key may be used, decided from what the service says, without I/O."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from .._masking import mask_key_value
from .._models import Key, KeyStatus, Model


class VerdictReason(enum.StrEnum):
    """Why a key may not be used."""

    NOT_FOUND = "not_found"
    """No key has this value."""

    INVALIDATED = "invalidated"
    """The key is revoked."""

    EXPIRED = "expired"
    """The key is past its expiry."""

    USED_UP = "used_up"
    """The key is for one use, and was used."""

    HWID_MISMATCH = "hwid_mismatch"
    """The key is for one device, and bound to another."""

    HWID_LIMIT = "hwid_limit"
    """The key is bound to as many devices as it allows, and this is none of them."""

    WRONG_SERVICE = "wrong_service"
    """The key is for another service."""

    NOT_PREMIUM = "not_premium"
    """The key is not premium."""

    WRONG_DISCORD_USER = "wrong_discord_user"
    """The key belongs to another Discord user, or to none."""


def _mask_or_none(value: str | None) -> str:
    return "None" if value is None else mask_key_value(value)


@attrs.frozen(kw_only=True)
class Verdict(Model):
    """Whether a key may be used, and if not, why. In a condition it is true if the key may.

    Attributes:
        reason: The first reason against the key, in the order of `VerdictReason`, or None.
        key: The key as the service knows it; None if there is no such key.
        looked_for: The value that was looked for last: the one given, or what is left of it without
            blanks, quotes and invisible characters around it. A secret, so ``repr`` masks it.
        stale: Whether the service could not be asked, and an earlier answer was used, as
            ``stale_if_error`` allows.
        age: Seconds since the look-up that the verdict rests on: 0 if this call made it. Verdicts
            that differ in this alone are equal.
    """

    _computed = ("valid",)

    reason: VerdictReason | None = None
    key: Key | None = None
    looked_for: str | None = attrs.field(default=None, repr=_mask_or_none)
    stale: bool = False
    age: float = attrs.field(default=0.0, eq=False)

    @property
    def valid(self) -> bool:
        """Whether the key may be used."""
        return self.reason is None

    def __bool__(self) -> bool:
        return self.valid


def evaluate(
    key: Key | None,
    claims: Mapping[str, Any],
    *,
    now: datetime | None = None,
    looked_for: str | None = None,
    stale: bool = False,
    age: float = 0.0,
) -> Verdict:
    """Decide whether a key may be used, by the validated `Claims` about its holder.

    ``now`` is the service's time, or None for that of the local clock.
    """
    reason: VerdictReason | None = VerdictReason.NOT_FOUND
    if key is not None:
        reason = next(_find_reasons(key, claims, now or datetime.now(UTC)), None)
    return Verdict(reason=reason, key=key, looked_for=looked_for, stale=stale, age=age)


def _find_reasons(key: Key, claims: Mapping[str, Any], now: datetime) -> Iterator[VerdictReason]:
    status = key.status_at(now)
    if status is KeyStatus.INVALIDATED:
        yield VerdictReason.INVALIDATED
    if status is KeyStatus.EXPIRED:
        yield VerdictReason.EXPIRED
    # Not by KeyStatus.USED: a key that is not for one use stays usable once it was used.
    if key.one_time_use and key.used_at is not None:
        yield VerdictReason.USED_UP
    if (hwid := claims.get("hwid")) and not key.no_hwid:
        yield from _check_device(key, hwid)
    if claims.get("service_id") not in (None, key.service_id):
        yield VerdictReason.WRONG_SERVICE
    if claims.get("premium") and not key.is_premium:
        yield VerdictReason.NOT_PREMIUM
    if claims.get("discord_id") not in (None, key.discord_id):
        yield VerdictReason.WRONG_DISCORD_USER


def _check_device(key: Key, hwid: str) -> Iterator[VerdictReason]:
    limit = key.hwid_limit
    if not limit:  # 0 and null are unlimited, as the service's reference says
        return
    # The contract requires neither field, so a key may come with only one of them.
    bound = {*key.keys_hwid, *(device.hwid for device in key.hwids)}
    if hwid not in bound and len(bound) >= limit:
        yield VerdictReason.HWID_MISMATCH if limit == 1 else VerdictReason.HWID_LIMIT
