"""Faults made on purpose, for users' own tests: which request has which, without I/O."""

import math
from bisect import bisect
from collections.abc import Callable, Collection
from itertools import accumulate
from random import Random
from typing import Any, NamedTuple

import attrs

from . import contract

_KINDS = ("error", "drop_before", "drop_after", "throttle")  # a request has one of them at most


def _must(limit: str, holds: Callable[[Any], bool]) -> Any:
    def check(_: object, field: "attrs.Attribute[Any]", value: object) -> None:
        if not holds(value):
            raise ValueError(f"{field.name} must be {limit}, not {value!r}")

    return check


def _statuses(given: int | Collection[int]) -> tuple[int, ...]:
    return tuple(given) if isinstance(given, Collection) else (given,)


def _span(given: float | tuple[float, float]) -> tuple[float, float]:
    return given if isinstance(given, tuple) else (given, given)


def _names(given: str | Collection[str] | None) -> frozenset[str] | None:
    return frozenset([given] if isinstance(given, str) else given) if given is not None else None


def _known(names: frozenset[str] | None) -> bool:
    return (names or set()) <= {operation.operation_id for operation in contract.operations()}


_SHARE = _must("a number from 0 to 1", lambda rate: 0 <= rate <= 1)
_ERRORS = _must(
    "one or several statuses from 400 to 599",
    lambda given: given and all(status in range(400, 600) for status in given),
)
_LENGTH = _must("a whole number from 1", lambda length: isinstance(length, int) and length >= 1)
_WAIT = _must(
    "a whole number of seconds from 0, or None",
    lambda wait: wait is None or (isinstance(wait, int) and wait >= 0),
)
_SPAN = _must(
    "a finite number of seconds from 0, or a pair of them that ascends",
    lambda span: len(span) == 2 and 0 <= span[0] <= span[1] < math.inf,
)


@attrs.frozen(kw_only=True)
class Faults:
    """What goes wrong, and how often; nothing does unless it is asked for.

    The rates are shares of the requests, from 0 to 1. A request has one of their four faults at
    most, so that they may add up to 1.

    Args:
        error_rate: The share that is answered by an error and not carried out.
        error_status: The status of such an answer, from 400 to 599, or several, of which each
            answer has one by chance.
        drop_before_rate: The share whose connection is broken, and which is not carried out.
        drop_after_rate: The share that is carried out, but whose connection is broken in place
            of an answer.
        throttle_rate: The share that begin a burst of answers 429; none is carried out.
        throttle_burst: How many requests in a row are in such a burst, from 1.
        retry_after: The ``Retry-After`` of its answers, in whole seconds from 0; None leaves it
            out.
        latency: How much later than otherwise an answer comes or a connection is broken, in
            seconds, finite and from 0: a number, or the least and the most, which each request
            draws between.
        operations: What can go wrong, as one operationId such as ``createKeyBatch`` or several;
            None is every request, even for something that isn't there.
        seed: Makes the same requests, in the same order, fail alike; None does not.

    Raises:
        ValueError: A value is out of its range.
    """

    error_rate: float = attrs.field(default=0.0, validator=_SHARE)
    error_status: tuple[int, ...] = attrs.field(default=503, converter=_statuses, validator=_ERRORS)
    drop_before_rate: float = attrs.field(default=0.0, validator=_SHARE)
    drop_after_rate: float = attrs.field(default=0.0, validator=_SHARE)
    throttle_rate: float = attrs.field(default=0.0, validator=_SHARE)
    throttle_burst: int = attrs.field(default=1, validator=_LENGTH)
    retry_after: int | None = attrs.field(default=1, validator=_WAIT)
    latency: tuple[float, float] = attrs.field(default=(0.0, 0.0), converter=_span, validator=_SPAN)
    operations: frozenset[str] | None = attrs.field(
        default=None, converter=_names, validator=_must("operationIds of the contract", _known)
    )
    seed: int | None = None

    def __attrs_post_init__(self) -> None:
        if (total := math.fsum(_rates(self))) > 1:
            names = " + ".join(f"{kind}_rate" for kind in _KINDS)
            raise ValueError(f"{names} must be at most 1, not {total!r}")


def _rates(faults: Faults) -> tuple[float, ...]:
    return tuple(getattr(faults, f"{kind}_rate") for kind in _KINDS)


class Fault(NamedTuple):
    """What becomes of one request.

    Attributes:
        kind: ``error``, ``drop_before``, ``drop_after`` or ``throttle``; None for none of them.
        status: The status of the answer that is made up; 0 when none is.
        retry_after: The ``Retry-After`` of that answer, in seconds; None for none.
        latency: By how many seconds it comes later.
    """

    kind: str | None = None
    status: int = 0
    retry_after: int | None = None
    latency: float = 0.0


NO_FAULT = Fault()


class Injector:
    """Draws a fault, or none, for one request after the other.

    Args:
        faults: What goes wrong, and how often.
    """

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._random = Random(faults.seed).random  # noqa: S311 - chance, not a secret
        self._bounds = list(accumulate(_rates(faults)))
        self._throttled = 0  # how many more a burst refuses

    def draw(self, operation_id: str | None) -> Fault:
        """Decide on the request that comes now.

        Args:
            operation_id: What it is for; None for something that isn't there.
        """
        only = self.faults.operations
        if only is not None and operation_id not in only:
            return NO_FAULT
        # Always three, so that a change of the latency, say, moves no fault to another request.
        kind, status, latency = self._random(), self._random(), self._random()
        least, most = self.faults.latency
        return self._fault(self._kind(kind), status, least + (most - least) * latency)

    def _kind(self, drawn: float) -> str | None:
        kind = "throttle" if self._throttled else (*_KINDS, None)[bisect(self._bounds, drawn)]
        if kind == "throttle":
            self._throttled = (self._throttled or self.faults.throttle_burst) - 1
        return kind

    def _fault(self, kind: str | None, drawn: float, latency: float) -> Fault:
        if kind == "throttle":
            return Fault(kind, 429, self.faults.retry_after, latency)
        statuses = self.faults.error_status if kind == "error" else (0,)
        return Fault(kind, statuses[int(drawn * len(statuses))], None, latency)
