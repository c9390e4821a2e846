"""The values that callers get: frozen attrs classes without I/O.

msgspec fills these classes straight from JSON, so a field's annotation is its wire type. Of a key
only ``id`` and ``key_value`` are required: the contract declares no required response field, and
a service that leaves one out must not take the whole page with it.
"""

import enum
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias

import attrs
import msgspec

from ._masking import mask_key_value

# msgspec refuses a date without offset here; the lenient reader then takes it as UTC.
Timestamp: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]


class Unset(enum.Enum):
    """The type of `UNSET`."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return "UNSET"

    def __bool__(self) -> Literal[False]:
        return False


UNSET: Final = Unset.UNSET
"""Left out of the request, where None would send null."""


class KeyStatus(enum.StrEnum):
    """What a key is worth at a moment, in the words of the list filter."""

    ACTIVE = "active"
    USED = "used"
    EXPIRED = "expired"
    INVALIDATED = "invalidated"


def _mask_all(values: tuple[str, ...]) -> str:
    return f"<{len(values)} keys>"


def _count(settings: dict[str, Any]) -> str:
    return f"<{len(settings)} settings>"


@attrs.frozen(kw_only=True)
class HWID:
    """A device that a key is bound to."""

    hwid: str = ""
    executor_user_id: str | None = None
    bound_at: Timestamp | None = None
    bound_by: str | None = None


@attrs.frozen(kw_only=True)
class DiscordRedemption:
    """Who redeemed a key on Discord, and when."""

    discord_user_id: str | None = None
    redemption_status: str | None = None
    redeemed_at: Timestamp | None = None


@attrs.frozen(kw_only=True)
class KeyFolder:
    """A folder that keys are filed in."""

    id: int
    name: str = ""
    created_at: Timestamp | None = None


@attrs.frozen(kw_only=True)
class Key:
    """A licence key as the service lists it. Datetimes are aware, in UTC; ``repr`` masks the value.

    Attributes:
        id: The key's ID.
        key_value: What the customer is given. A secret.
        validity_minutes: Minutes from creation, or from the first use, until the key expires.
        hwid_limit: How many devices may be bound, 0 to 100.
        hwids: The bound devices, with when and by whom.
        keys_hwid: The bound devices' identifiers alone.
    """

    id: int
    key_value: str = attrs.field(repr=mask_key_value)
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
        """The key's status now: the first that holds of INVALIDATED, EXPIRED, USED; else ACTIVE."""
        return self.status_at(datetime.now(UTC))

    def status_at(self, moment: datetime) -> KeyStatus:
        """Return the key's status at a moment.

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
        """True once ``expires_at`` has come, invalidated or not."""
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)

    @property
    def expires_in(self) -> timedelta | None:
        """The time left, never negative; None when no expiry is set."""
        if self.expires_at is None:
            return None
        return max(self.expires_at - datetime.now(UTC), timedelta())


@attrs.frozen(kw_only=True)
class KeyDetailed(Key):
    """A key as `keys.get` gives it: with its redemption on Discord."""

    discord_redemption: DiscordRedemption | None = None


KeyRef: TypeAlias = int | str | Key
"""A key: its ID (a number), its value (a string, even one of digits only), or the `Key`."""


@attrs.frozen(kw_only=True)
class Pagination:
    """Where a page stands in its list. None where the service did not say."""

    page: int | None = None
    limit: int | None = None
    total: int | None = None
    total_pages: int | None = None


@attrs.frozen(kw_only=True)
class KeyPage:
    """One page of a list of keys, `limit` (1 to 100) of them at most."""

    keys: tuple[Key, ...] = ()
    pagination: Pagination = Pagination()


@attrs.frozen(kw_only=True)
class KeyBatch:
    """What one batch call created.

    Attributes:
        keys: The new key values.
        count: How many the service says it made.
        config: The settings that the service says it used.
    """

    keys: tuple[str, ...] = attrs.field(repr=_mask_all)
    count: int
    config: dict[str, Any] = attrs.field(factory=dict, hash=False, repr=_count)


@attrs.frozen(kw_only=True)
class BulkDeleteResult:
    """What one bulk-delete call did: ``deleted`` of ``requested`` keys were there to delete."""

    deleted: int
    requested: int


@attrs.frozen(kw_only=True)
class ActionResult:
    """The service's word on an action."""

    success: bool = True
    message: str = attrs.field(default="", repr=lambda text: f"<{len(text)} characters>")


@attrs.frozen(kw_only=True)
class UpdateResult(ActionResult):
    """The service's word on an update, with the devices bound after it."""

    keys_hwid: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class CreateReport:
    """What a create job did. ``created + failed + unknown`` is ``requested`` once it has ended.

    Attributes:
        requested: Keys asked for.
        keys: The values of the created keys.
        failed: Keys that were not created, those never asked of the service among them.
        unknown: Keys of calls whose outcome is not known: they may exist.
    """

    requested: int
    keys: tuple[str, ...] = attrs.field(repr=_mask_all)
    failed: int = 0
    unknown: int = 0

    @property
    def created(self) -> int:
        """How many keys were created and are in `keys`."""
        return len(self.keys)


@attrs.frozen(kw_only=True)
class DeleteReport:
    """What a delete job did. ``deleted + missing + failed`` is ``requested``.

    Attributes:
        requested: Keys taken from the caller, duplicates dropped.
        deleted: Keys that were there and are gone.
        missing: Keys that were not there. When an answer was lost on the way and the call was
            repeated, what the first call had deleted counts here.
        failed: Keys of calls that failed, or that were never made.
    """

    requested: int
    deleted: int = 0
    missing: int = 0
    failed: int = 0
