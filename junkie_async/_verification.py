"""Whether a key may be used: a judgement on what the service says of it, without I/O."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from ._models import Key, KeyStatus


class VerdictReason(enum.StrEnum):
    """Why a key may not be used."""

    NOT_FOUND = "not_found"
    """No key has this value."""

    INVALIDATED = "invalidated"
    """It was revoked."""

    EXPIRED = "expired"
    """Its time is over."""

    USED_UP = "used_up"
    """It was good for one use, and was used."""

    HWID_MISMATCH = "hwid_mismatch"
    """It is bound to another device, and to no more than that."""

    HWID_LIMIT = "hwid_limit"
    """As many devices as it allows are bound to it, and this is none of them."""

    WRONG_SERVICE = "wrong_service"
    """It is not for this service."""

    NOT_PREMIUM = "not_premium"
    """It is not a premium key."""

    WRONG_DISCORD_USER = "wrong_discord_user"
    """It is not this Discord user's."""


@attrs.frozen(kw_only=True)
class Verdict:
    """Whether a key may be used, and if not, why. True in a condition if it may.

    Attributes:
        reason: The first reason against it, in the order of `VerdictReason`; None if there is none.
        key: The key as the service knows it; None if there is no such key.
    """

    reason: VerdictReason | None = None
    key: Key | None = None

    @property
    def valid(self) -> bool:
        """Whether the key may be used."""
        return self.reason is None

    def __bool__(self) -> bool:
        return self.valid


def evaluate(key: Key | None, claims: Mapping[str, Any]) -> Verdict:
    """Judge a key, now, by what is claimed of its holder."""
    if key is None:
        return Verdict(reason=VerdictReason.NOT_FOUND)
    return Verdict(reason=next(_reasons(key, claims), None), key=key)


def _reasons(key: Key, claims: Mapping[str, Any]) -> Iterator[VerdictReason]:
    status = key.status
    if status is KeyStatus.INVALIDATED:
        yield VerdictReason.INVALIDATED
    if status is KeyStatus.EXPIRED:
        yield VerdictReason.EXPIRED
    if key.one_time_use and key.used_at is not None:
        yield VerdictReason.USED_UP
    if (hwid := claims.get("hwid")) and not key.no_hwid:
        yield from _device(key, hwid)
    if claims.get("service_id") not in (None, key.service_id):
        yield VerdictReason.WRONG_SERVICE
    if claims.get("premium") and not key.is_premium:
        yield VerdictReason.NOT_PREMIUM
    if claims.get("discord_id") not in (None, key.discord_id):
        yield VerdictReason.WRONG_DISCORD_USER


def _device(key: Key, hwid: str) -> Iterator[VerdictReason]:
    """Judge a device; one that is not bound will do while the key has room for another."""
    bound = {*key.keys_hwid, *(device.hwid for device in key.hwids)}
    if hwid in bound:
        return
    most = max(len(bound), 1) if key.hwid_limit is None else key.hwid_limit
    if len(bound) >= most:
        yield VerdictReason.HWID_MISMATCH if most == 1 else VerdictReason.HWID_LIMIT
