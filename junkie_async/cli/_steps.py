"""Steps that are counted: run one after the other, each held against what it should have done."""

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import attrs

from .. import OnProgress


@attrs.frozen(kw_only=True)
class Step:
    """A part of a demonstration.

    Attributes:
        name: What it is called on the screen.
        run: Does it and counts the keys that it did right.
        expected: How many keys that should be; None where nobody can know.
        calls: How many requests of each operation it should take; None likewise.
        held: How many keys the service should hold afterwards; None likewise.
        rated: Whether keys a second say anything: not where totals are read, and no keys.
    """

    name: str
    run: Callable[[OnProgress], Awaitable[int]]
    expected: int | None = None
    calls: Mapping[str, int] | None = None
    held: int | None = None
    rated: bool = True


@attrs.frozen(kw_only=True)
class Result:
    """What a step did.

    Attributes:
        step: The step.
        counted: How many keys it says it did right.
        calls: How many requests of each operation there were meanwhile.
        held: How many keys the service holds now, or None.
        seconds: How long it took.
    """

    step: Step
    counted: int
    calls: Counter[str]
    held: int | None
    seconds: float

    @property
    def problems(self) -> list[str]:
        """What is not as it should be, a line each."""
        step, found = self.step, []
        if step.expected is not None and self.counted != step.expected:
            found.append(f"{step.expected:,} keys expected, {self.counted:,} counted")
        if step.calls is not None and self.calls != Counter(step.calls):
            found.append(f"calls expected: {_listed(step.calls)}; made: {_listed(self.calls)}")
        if step.held is not None and self.held != step.held:
            found.append(f"the service should hold {step.held:,} keys, and holds {self.held:,}")
        return [f"{step.name}: {problem}" for problem in found]

    @property
    def rate(self) -> float | None:
        """Keys a second, where that says anything."""
        known = self.step.rated and self.counted and self.seconds
        return self.counted / self.seconds if known else None


def _listed(calls: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(calls.items())) or "none"


class Meter(Protocol):
    """Counts requests and keys apart from the steps."""

    def calls(self) -> Counter[str]:
        """Count the requests so far, by operation."""
        ...

    async def held(self) -> int | None:
        """Count the keys that the service holds, or None where that can't be seen."""
        ...


class Screen(Protocol):
    """Shows the steps to a person or a log."""

    def begin(self, step: Step) -> None:
        """Show that a step begins."""
        ...

    def progress(self, done: int, total: int | None) -> None:
        """Show how far the step has come."""
        ...

    def end(self, result: Result) -> None:
        """Show what it did."""
        ...


async def run_steps(steps: Sequence[Step], meter: Meter, screen: Screen) -> list[Result]:
    """Run the steps in order; the first error ends them."""
    results = []
    for step in steps:
        before = meter.calls()
        screen.begin(step)
        started = time.perf_counter()
        counted = await step.run(screen.progress)
        seconds = time.perf_counter() - started
        calls = meter.calls()
        calls.subtract(before)
        result = Result(
            step=step,
            counted=counted,
            calls=Counter({name: number for name, number in calls.items() if number}),
            held=await meter.held(),
            seconds=seconds,
        )
        screen.end(result)
        results.append(result)
    return results
