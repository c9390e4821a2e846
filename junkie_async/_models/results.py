"""What calls and jobs return besides a single key."""

from collections.abc import Callable, Iterator, Sequence, Sized
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, overload

import attrs

from .base import Model
from .key import Key


def _count_only(noun: str) -> Callable[[Sized], str]:
    return lambda value: f"<{len(value)} {noun}>"


def _none_below_zero(number: int | None) -> int | None:
    return None if number is not None and number < 0 else number


@attrs.frozen(kw_only=True)
class Pagination(Model):
    """A page's position in its list. None where the service states no number, or one below 0."""

    page: int | None = attrs.field(default=None, converter=_none_below_zero)
    """The page's number, from 1."""

    limit: int | None = attrs.field(default=None, converter=_none_below_zero)
    """Keys on a full page."""

    total: int | None = attrs.field(default=None, converter=_none_below_zero)
    """Keys in the list."""

    total_pages: int | None = attrs.field(default=None, converter=_none_below_zero)
    """Pages in the list."""


@attrs.frozen(kw_only=True)
class KeyPage(Model, Sequence[Key]):
    """One page of a list of keys: a sequence of its keys.

    ``len(page)``, ``page[0]``, ``page[:10]``, ``key in page``, ``for`` and ``reversed`` work as
    they do for a tuple, and a page without keys is falsy. It is one page only: to walk over the
    whole list, write ``async for key in keys.list()``, without ``await``.
    """

    keys: tuple[Key, ...] = ()
    """The keys, up to the list's ``limit`` (1 to 100)."""

    pagination: Pagination = Pagination()
    """The page's position in the list."""

    unreadable: tuple[str, ...] = ()
    """The faults of rows that ``list(skip_bad_rows=True)`` skipped: ``keys[3].id is missing``."""

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, index: int) -> Key: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Key, ...]: ...

    def __getitem__(self, index: int | slice) -> Key | tuple[Key, ...]:
        return self.keys[index]

    def __iter__(self) -> Iterator[Key]:
        return iter(self.keys)

    def __reversed__(self) -> Iterator[Key]:
        return reversed(self.keys)

    def __contains__(self, key: object) -> bool:
        return key in self.keys

    if not TYPE_CHECKING:  # type checkers refuse `async for` over a page by themselves

        def __aiter__(self) -> NoReturn:
            raise TypeError(
                "`async for` over a KeyPage, which is one page: drop the `await` to walk over all "
                "keys (`async for key in keys.list()`), or use `for` for this page alone"
            )


@attrs.frozen(kw_only=True)
class KeyBatch(Model):
    """The keys that one batch call created."""

    keys: tuple[str, ...] = attrs.field(repr=_count_only("keys"))
    """The new key values. Secrets: `to_dict` has them in full."""

    count: int
    """How many keys the service states."""

    config: dict[str, Any] = attrs.field(
        factory=dict[str, Any], hash=False, repr=_count_only("settings")
    )
    """The settings that the service states."""


@attrs.frozen(kw_only=True)
class BulkDeleteResult(Model):
    """The result of one bulk-delete call."""

    deleted: int
    """Keys that existed and are deleted."""

    requested: int
    """Keys in the request."""


@attrs.frozen(kw_only=True)
class ActionResult(Model):
    """The service's report on an action."""

    success: bool = True
    """True: what a service refuses is an `APIError`."""

    message: str = attrs.field(default="", repr=_count_only("characters"))
    """The service's message."""


@attrs.frozen(kw_only=True)
class UpdateResult(ActionResult):
    """The service's report on an update."""

    keys_hwid: tuple[str, ...] = ()
    """Identifiers of the devices that are bound after it.

    Stated only if the update changed ``hwids``.
    """


class _KeysOnDemand(Model):
    """Where a report's keys are read from when they are asked for: `report_on_demand`."""

    __slots__ = ("_created", "_read_keys")

    _created: int
    """How many keys there are."""

    _read_keys: Callable[[], tuple[str, ...]]
    """Reads them."""


@attrs.frozen(kw_only=True)
class CreateReport(_KeysOnDemand):
    """The result of a create job. At its end ``created + failed + unknown`` is ``requested``."""

    _computed: ClassVar = ("created",)

    requested: int
    """Keys that the job was to create."""

    keys: tuple[str, ...] = attrs.field(repr=_count_only("keys"))
    """The values of the created keys. Secrets: `to_dict` has them in full."""

    failed: int = 0
    """Keys that were not created, including those that were never requested."""

    unknown: int = 0
    """Keys of calls with an unknown outcome: they may exist."""

    @property
    def created(self) -> int:
        """The number of created keys, which are in `keys`."""
        return self._created

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(requested={self.requested!r}, keys=<{self.created} keys>,"
            f" failed={self.failed!r}, unknown={self.unknown!r})"
        )

    if not TYPE_CHECKING:  # else checkers would take every name for an attribute

        def __getattr__(self, name: str) -> object:
            """Read what is not there yet. Python calls this for slots that are empty."""
            if name == "_created":
                return len(self.keys)
            if name != "keys":
                raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
            keys = self._read_keys()
            object.__setattr__(self, "keys", keys)
            return keys


def report_on_demand(
    read_keys: Callable[[], tuple[str, ...]], *, created: int, **counts: int
) -> CreateReport:
    """Make a report whose keys are read when they are asked for: a ledger may have millions."""
    report = CreateReport.__new__(CreateReport)
    for name, value in {"_created": created, "_read_keys": read_keys, **counts}.items():
        object.__setattr__(report, name, value)
    return report


@attrs.frozen(kw_only=True)
class DeleteReport(Model):
    """The result of a delete job. ``deleted + missing + failed`` is ``requested``."""

    requested: int
    """Keys taken from the caller, without duplicates."""

    deleted: int = 0
    """Keys that existed and are deleted."""

    missing: int = 0
    """Keys that did not exist.

    If a response is lost and the call is sent again, the keys that the first call deleted count
    here.
    """

    failed: int = 0
    """Keys of calls that failed or were never made."""
