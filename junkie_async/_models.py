"""Models: the frozen attrs classes that callers get.

msgspec fills these classes straight from JSON, so a field's annotation is its JSON type. Of a key
only ``id`` and ``key_value`` are required: the contract declares no response field as required,
and a field that the service leaves out must not make a whole page unreadable.
"""

# Not `from __future__ import annotations`: msgspec and cattrs read the annotations at run time, and
# the classes appear as `junkie_async.…`, where strings could not be resolved.

import enum
from collections.abc import Callable, Sized
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias

import attrs
import msgspec

from ._masking import mask_key_value

# With `tz=True` msgspec refuses a datetime without offset; the lenient reader then takes it as UTC.
Timestamp: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
# An ID beyond them can't be sent back: JSON readers might round it to that of another key.
Identifier: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**53) + 1, le=2**53 - 1)]

KeyValue: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]


class Unset(enum.Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> Literal[False]:
        return False


UNSET: Final = Unset.UNSET
"""Leaves a field out of the request, where None would send null."""


class KeyStatus(enum.StrEnum):
    """A key's status. The values are those of the list filter."""

    ACTIVE = "active"
    """None of the others applies."""

    USED = "used"
    """Used at least once, and still usable unless it is for one use only."""

    EXPIRED = "expired"
    """Past its expiry."""

    INVALIDATED = "invalidated"
    """Revoked."""


def _count_only(noun: str) -> Callable[[Sized], str]:
    return lambda value: f"<{len(value)} {noun}>"


@attrs.frozen(kw_only=True)
class HWID:
    """A device that a key is bound to.

    Attributes:
        hwid: The device's identifier.
        executor_user_id: The user's ID at the executor.
        bound_at: When it was bound, in UTC.
        bound_by: How it was bound: ``api``, ``verify``, ``manual`` or ``admin``.
    """

    hwid: str = ""
    executor_user_id: str | None = None
    bound_at: Timestamp | None = None
    bound_by: str | None = None


@attrs.frozen(kw_only=True)
class DiscordRedemption:
    """A key's redemption on Discord.

    Attributes:
        discord_user_id: The user who redeemed the key.
        redemption_status: The redemption's status, as the service names it.
        redeemed_at: When the key was redeemed, in UTC.
    """

    discord_user_id: str | None = None
    redemption_status: str | None = None
    redeemed_at: Timestamp | None = None


@attrs.frozen(kw_only=True)
class KeyFolder:
    """A folder for keys.

    Attributes:
        id: The folder's ID.
        name: The folder's name.
        created_at: When it was created, in UTC.
    """

    id: Identifier
    name: str = ""
    created_at: Timestamp | None = None


@attrs.frozen(kw_only=True)
class Key:
    """A licence key as the service lists it. Datetimes are aware, in UTC; ``repr`` masks the value.

    Attributes:
        id: The key's ID.
        key_value: The value that the customer gets. A secret.
        user_id: The key's user, as the service states it.
        service_id: The service that the key unlocks.
        provider_id: The provider that the key was issued under.
        folder_id: The folder that the key is filed in.
        expires_at: When the key expires; None if it does not, or not yet (``expiry_on_first_use``).
        used_at: When the key was used first; None if never.
        is_premium: Whether the key is premium.
        is_invalidated: Whether the key is revoked.
        one_time_use: Whether the key is spent by its first use.
        expiry_on_first_use: Whether the validity starts at the first use.
        validity_minutes: Minutes from creation, or from the first use, until the key expires. 0 or
            None is for ever.
        no_hwid: Whether the key is never bound to a device.
        key_name: A note of up to 255 characters.
        hwid_limit: How many devices may be bound, up to 100. 0 or None is unlimited.
        discord_id: The owner's Discord ID.
        created_at: When the key was created.
        service_name: The service's name.
        provider_name: The provider's name.
        folder_name: The folder's name.
        hwids: The bound devices, with when and by whom.
        keys_hwid: The bound devices' identifiers alone.
    """

    id: Identifier
    key_value: KeyValue = attrs.field(repr=mask_key_value)
    user_id: int | None = None
    service_id: int | None = None
    provider_id: int | None = None
    folder_id: int | None = None
    expires_at: Timestamp | None = None
    used_at: Timestamp | None = None
    is_premium: bool = False
    is_invalidated: bool = False
    one_time_use: bool = False
    expiry_on_first_use: bool = False
    validity_minutes: int | None = None
    no_hwid: bool = False
    key_name: str | None = None
    hwid_limit: int | None = None
    discord_id: str | None = None
    created_at: Timestamp | None = None
    service_name: str | None = None
    provider_name: str | None = None
    folder_name: str | None = None
    hwids: tuple[HWID, ...] = ()
    keys_hwid: tuple[str, ...] = ()

    @property
    def status(self) -> KeyStatus:
        """The status now: the first that applies of INVALIDATED, EXPIRED, USED; else ACTIVE."""
        return self.status_at(datetime.now(UTC))

    def status_at(self, moment: datetime) -> KeyStatus:
        """Return the status at a moment.

        Args:
            moment: An aware datetime.
        """
        if self.is_invalidated:
            return KeyStatus.INVALIDATED
        if self.expires_at is not None and self.expires_at <= moment:
            return KeyStatus.EXPIRED
        return KeyStatus.ACTIVE if self.used_at is None else KeyStatus.USED

    @property
    def is_expired(self) -> bool:
        """Whether ``expires_at`` has passed, for a revoked key too."""
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)

    @property
    def expires_in(self) -> timedelta | None:
        """The time until the key expires, never negative; None without an expiry."""
        if self.expires_at is None:
            return None
        return max(self.expires_at - datetime.now(UTC), timedelta())


@attrs.frozen(kw_only=True)
class KeyDetailed(Key):
    """A key as `keys.get` returns it.

    Attributes:
        discord_redemption: The key's redemption on Discord; None if it was not redeemed there.
    """

    discord_redemption: DiscordRedemption | None = None


KeyRef: TypeAlias = int | str | Key
"""A reference to a key: its ID (an int), its value (a str, even of digits only) or the `Key`."""


def _none_below_zero(number: int | None) -> int | None:
    return None if number is not None and number < 0 else number


@attrs.frozen(kw_only=True)
class Pagination:
    """A page's position in its list. None where the service states no number, or one below 0.

    Attributes:
        page: The page's number, from 1.
        limit: Keys on a full page.
        total: Keys in the list.
        total_pages: Pages in the list.
    """

    page: int | None = attrs.field(default=None, converter=_none_below_zero)
    limit: int | None = attrs.field(default=None, converter=_none_below_zero)
    total: int | None = attrs.field(default=None, converter=_none_below_zero)
    total_pages: int | None = attrs.field(default=None, converter=_none_below_zero)


@attrs.frozen(kw_only=True)
class KeyPage:
    """One page of a list of keys.

    Attributes:
        keys: The keys, up to the list's ``limit`` (1 to 100).
        pagination: The page's position in the list.
        unreadable: What is wrong with each row that ``list(skip_bad_rows=True)`` has skipped, such
            as ``keys[3].id is missing``.
    """

    keys: tuple[Key, ...] = ()
    pagination: Pagination = Pagination()
    unreadable: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class KeyBatch:
    """The keys that one batch call created.

    Attributes:
        keys: The new key values.
        count: How many keys the service states.
        config: The settings that the service states.
    """

    keys: tuple[str, ...] = attrs.field(repr=_count_only("keys"))
    count: int
    config: dict[str, Any] = attrs.field(
        factory=dict[str, Any], hash=False, repr=_count_only("settings")
    )


@attrs.frozen(kw_only=True)
class BulkDeleteResult:
    """The result of one bulk-delete call.

    Attributes:
        deleted: Keys that existed and are deleted.
        requested: Keys in the request.
    """

    deleted: int
    requested: int


@attrs.frozen(kw_only=True)
class ActionResult:
    """The service's report on an action.

    Attributes:
        success: True: what a service refuses is an `APIError`.
        message: The service's message.
    """

    success: bool = True
    message: str = attrs.field(default="", repr=_count_only("characters"))


@attrs.frozen(kw_only=True)
class UpdateResult(ActionResult):
    """The service's report on an update.

    Attributes:
        keys_hwid: Identifiers of the devices that are bound after it. Stated only if the update
            changed ``hwids``.
    """

    keys_hwid: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class CreateReport:
    """The result of a create job. At its end ``created + failed + unknown`` is ``requested``.

    Attributes:
        requested: Keys that the job was to create.
        keys: The values of the created keys.
        failed: Keys that were not created, including those that were never requested.
        unknown: Keys of calls with an unknown outcome: they may exist.
    """

    requested: int
    keys: tuple[str, ...] = attrs.field(repr=_count_only("keys"))
    failed: int = 0
    unknown: int = 0

    @property
    def created(self) -> int:
        """The number of created keys, which are in `keys`."""
        return len(self.keys)


@attrs.frozen(kw_only=True)
class DeleteReport:
    """The result of a delete job. ``deleted + missing + failed`` is ``requested``.

    Attributes:
        requested: Keys taken from the caller, without duplicates.
        deleted: Keys that existed and are deleted.
        missing: Keys that did not exist. If a response is lost and the call is sent again, the
            keys that the first call deleted count here.
        failed: Keys of calls that failed or were never made.
    """

    requested: int
    deleted: int = 0
    missing: int = 0
    failed: int = 0
