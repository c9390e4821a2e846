"""Faults on purpose, for users' own tests: decide which request fails and how, without I/O."""

import math
from bisect import bisect
from collections.abc import Callable, Collection
from itertools import accumulate
from random import Random
from typing import Any, NamedTuple

import attrs

from . import request_validation
from .schema import FILTERS

_KINDS = ("error", "drop_before", "drop_after", "throttle")  # a request has at most one of them

_Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _limit_to(limit: str, holds: Callable[[Any], bool]) -> _Validator:
    def check_limit(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if not holds(value):
            raise ValueError(f"{field.name} must be {limit}, got {value!r}")

    return check_limit


def _to_statuses(given: int | Collection[int]) -> tuple[int, ...]:
    return tuple(given) if isinstance(given, Collection) else (given,)


def _to_range(given: float | tuple[float, float]) -> tuple[float, float]:
    return given if isinstance(given, tuple) else (given, given)


def _to_names(given: str | Collection[str] | None) -> frozenset[str] | None:
    return frozenset([given] if isinstance(given, str) else given) if given is not None else None


def _are_operations(names: frozenset[str] | None) -> bool:
    operations = request_validation.load_operations()
    return (names or set()) <= {operation.operation_id for operation in operations}


def _to_filters(given: str | Collection[str]) -> frozenset[str]:
    return frozenset([given] if isinstance(given, str) else given)


_RATE = _limit_to("a number from 0 to 1", lambda rate: 0 <= rate <= 1)
_STATUSES = _limit_to(
    "one or more statuses from 400 to 599",
    lambda given: given and all(status in range(400, 600) for status in given),
)
_BURST = _limit_to("an integer >= 1", lambda length: isinstance(length, int) and length >= 1)
_RETRY_AFTER = _limit_to(
    "an integer >= 0 (seconds), or None",
    lambda wait: wait is None or (isinstance(wait, int) and wait >= 0),
)
_LATENCY = _limit_to(
    "a finite number of seconds >= 0, or a (least, most) pair of them",
    lambda bounds: len(bounds) == 2 and 0 <= bounds[0] <= bounds[1] < math.inf,
)
_FILTERS = _limit_to("filters of listKeys", lambda names: names <= {*FILTERS})
_OPERATIONS = _limit_to("operationIds of the contract", _are_operations)


@attrs.frozen(kw_only=True)
class Faults:
    """Faults to inject, and how often; none by default.

    The four rates are shares of the requests, from 0 to 1. A request has at most one of these
    faults, so the rates may add up to 1.

    Attributes:
        error_rate: The share that gets an error response and is not carried out.
        error_status: The status of these responses, from 400 to 599, or several, of which each
            response gets one at random.
        drop_before_rate: The share that is not carried out and whose connection is aborted.
        drop_after_rate: The share that is carried out, but whose connection is aborted instead of
            a response.
        throttle_rate: The share that starts a burst of 429 responses; none is carried out.
        throttle_burst: How many consecutive requests a burst refuses, >= 1.
        retry_after: The ``Retry-After`` of these 429s, in whole seconds >= 0; None omits it.
        latency: The extra delay of each response or abort, in seconds, finite and >= 0: a number,
            or a (least, most) pair between which each request draws.
        ignored_filters: Filters of ``listKeys`` that are ignored, as a service does that does not
            know them: their names, such as ``folder_id``.
        operations: The operations that can fail, as one operationId such as ``createKeyBatch`` or
            several; None means every request, also for a path that does not exist.
        seed: The same seed makes the same sequence of requests fail alike; None for a random one.

    Raises:
        ValueError: A value is out of its range.
    """

    error_rate: float = attrs.field(default=0.0, validator=_RATE)
    error_status: tuple[int, ...] = attrs.field(
        default=(503,), converter=_to_statuses, validator=_STATUSES
    )
    drop_before_rate: float = attrs.field(default=0.0, validator=_RATE)
    drop_after_rate: float = attrs.field(default=0.0, validator=_RATE)
    throttle_rate: float = attrs.field(default=0.0, validator=_RATE)
    throttle_burst: int = attrs.field(default=1, validator=_BURST)
    retry_after: int | None = attrs.field(default=1, validator=_RETRY_AFTER)
    latency: tuple[float, float] = attrs.field(
        default=(0.0, 0.0), converter=_to_range, validator=_LATENCY
    )
    ignored_filters: frozenset[str] = attrs.field(
        default=(), converter=_to_filters, validator=_FILTERS
    )
    operations: frozenset[str] | None = attrs.field(
        default=None, converter=_to_names, validator=_OPERATIONS
    )
    seed: int | None = None

    def __attrs_post_init__(self) -> None:
        # fsum: 0.33 + 0.56 + 0.11 is more than 1 with a plain sum.
        if (total := math.fsum(_rates_of(self))) > 1:
            names = " + ".join(f"{kind}_rate" for kind in _KINDS)
            raise ValueError(f"{names} must be at most 1, got {total!r}")


def _rates_of(faults: Faults) -> tuple[float, ...]:
    return tuple(getattr(faults, f"{kind}_rate") for kind in _KINDS)


class Fault(NamedTuple):
    """The fault of one request."""

    kind: str | None = None
    status: int = 0  # of the injected response; 0 for none
    retry_after: int | None = None  # seconds
    latency: float = 0.0  # seconds


class FaultInjector:
    """Draws the fault of one request after the other."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._random = Random(faults.seed).random  # noqa: S311 - chance, not a secret
        self._bounds = list(accumulate(_rates_of(faults)))
        self._burst_left = 0  # requests that the current burst still refuses

    def draw(self, operation_id: str | None) -> Fault:
        """Draw the fault of the next request; a path that does not exist has no operation."""
        only = self.faults.operations
        if only is not None and operation_id not in only:
            return Fault()
        # Always three draws: a changed latency, say, must not move faults to other requests.
        kind, status, latency = self._random(), self._random(), self._random()
        least, most = self.faults.latency
        return self._make_fault(self._pick_kind(kind), status, least + (most - least) * latency)

    def _pick_kind(self, drawn: float) -> str | None:
        kind = "throttle" if self._burst_left else (*_KINDS, None)[bisect(self._bounds, drawn)]
        if kind == "throttle":
            self._burst_left = (self._burst_left or self.faults.throttle_burst) - 1
        return kind

    def _make_fault(self, kind: str | None, drawn: float, latency: float) -> Fault:
        if kind == "throttle":
            return Fault(kind, 429, self.faults.retry_after, latency)
        statuses = self.faults.error_status if kind == "error" else (0,)
        return Fault(kind, statuses[int(drawn * len(statuses))], None, latency)
