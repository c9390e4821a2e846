"""Keys, and what belongs to them."""

import enum
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar, Final, Literal, TypeAlias

import attrs
import msgspec

from .._masking import mask_key_value
from .base import Model

# The bounds are written out at each field, for editors show an alias by its name.
# With `tz=True` msgspec refuses a datetime without offset; the lenient reader then takes it as UTC.
_AWARE: Final = msgspec.Meta(tz=True)
# An ID beyond them can't be sent back: JSON readers might round it to that of another key.
_EXACT: Final = msgspec.Meta(ge=-(2**53) + 1, le=2**53 - 1)
_NOT_EMPTY: Final = msgspec.Meta(min_length=1)

Identifier: TypeAlias = Annotated[int, _EXACT]
KeyValue: TypeAlias = Annotated[str, _NOT_EMPTY]


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


@attrs.frozen(kw_only=True)
class HWID(Model):
    """A device that a key is bound to."""

    hwid: str = ""
    """The device's identifier."""

    executor_user_id: str | None = None
    """The user's ID at the executor."""

    bound_at: Annotated[datetime, _AWARE] | None = None
    """When it was bound, in UTC."""

    bound_by: str | None = None
    """How it was bound: ``api``, ``verify``, ``manual`` or ``admin``."""


@attrs.frozen(kw_only=True)
class DiscordRedemption(Model):
    """A key's redemption on Discord."""

    discord_user_id: str | None = None
    """The user who redeemed the key."""

    redemption_status: str | None = None
    """The redemption's status, as the service names it."""

    redeemed_at: Annotated[datetime, _AWARE] | None = None
    """When the key was redeemed, in UTC."""


@attrs.frozen(kw_only=True)
class KeyFolder(Model):
    """A folder for keys."""

    id: Annotated[int, _EXACT]
    """The folder's ID, as `Key.folder_id` and the filter ``folder_id`` have it."""

    name: str = ""
    """The folder's name."""

    created_at: Annotated[datetime, _AWARE] | None = None
    """When it was created, in UTC."""


@attrs.frozen(kw_only=True)
class Key(Model):
    """A licence key as the service lists it. Datetimes are aware, in UTC; ``repr`` masks the value.

    The service declares no field as required. What it leaves out has the default.
    """

    _computed: ClassVar = ("status",)

    id: Annotated[int, _EXACT]
    """The key's ID. Calls take it as an int: a str is a key value."""

    key_value: Annotated[str, _NOT_EMPTY] = attrs.field(repr=mask_key_value)
    """The value that the customer gets. A secret: `to_dict` has it in full."""

    user_id: int | None = None
    """The key's user, as the service states it. Not a Discord ID."""

    service_id: int | None = None
    """The service that the key unlocks."""

    provider_id: int | None = None
    """The provider that the key was issued under."""

    folder_id: int | None = None
    """The folder that the key is filed in; None for no folder."""

    expires_at: Annotated[datetime, _AWARE] | None = None
    """When the key expires, in UTC; None if it does not, or not yet (`expiry_on_first_use`)."""

    used_at: Annotated[datetime, _AWARE] | None = None
    """When the key was used first, in UTC; None if never."""

    is_premium: bool = False
    """Whether the key is premium."""

    is_invalidated: bool = False
    """Whether the key is revoked."""

    one_time_use: bool = False
    """Whether the key is spent by its first use."""

    expiry_on_first_use: bool = False
    """Whether the validity starts at the first use instead of the creation."""

    validity_minutes: int | None = None
    """Minutes from creation, or from the first use, until the key expires. 0 or None is for ever.

    See `expiry_on_first_use`.
    """

    no_hwid: bool = False
    """Whether the key is never bound to a device."""

    key_name: str | None = None
    """A note of up to 255 characters."""

    hwid_limit: int | None = None
    """How many devices may be bound, up to 100. 0 or None is unlimited."""

    discord_id: str | None = None
    """The owner's Discord ID, 17 to 19 digits."""

    created_at: Annotated[datetime, _AWARE] | None = None
    """When the key was created, in UTC."""

    service_name: str | None = None
    """The name of the service that the key unlocks."""

    provider_name: str | None = None
    """The name of the provider that the key was issued under."""

    folder_name: str | None = None
    """The name of the folder that the key is filed in."""

    hwids: tuple[HWID, ...] = ()
    """The bound devices, with when and by whom."""

    keys_hwid: tuple[str, ...] = ()
    """The bound devices' identifiers alone."""

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
    """A key as `keys.get` returns it: a `Key`, and its redemption."""

    discord_redemption: DiscordRedemption | None = None
    """The key's redemption on Discord; None if it was not redeemed there."""


KeyRef: TypeAlias = int | str | Key
"""A reference to a key: its ID (an int), its value (a str, even of digits only) or the `Key`."""
