"""Scenarios and their measurement, each client in its own process.

What has a latency is timed, in alternating rounds. What has none is counted in instructions.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Final

import _bench

from .environments import HERE, Environment, child_environment

Samples = dict[str, dict[str, dict[str, list[float]]]]
"""By scenario, metric and client: one number per round; of what is counted, one in all."""


@dataclass(frozen=True)
class Scenario:
    """One comparison.

    Attributes:
        name: Its name in the results.
        title: Its title in the table.
        job: The job of the clients.
        milliseconds: The latency of a response.
        calls: The number of requests.
        alone: The number for clients with one request in flight, which with a latency would take
            minutes for as many. Figures are per call, so they stay comparable.
        unit: What a call transfers.
    """

    name: str
    title: str
    job: str
    milliseconds: int
    calls: int
    alone: int
    unit: str

    def calls_of(self, client: str) -> int:
        """Return how many calls a client makes."""
        return self.calls if client in AHEAD else self.alone


AHEAD = ("ours", "bytes", "semaphore")
"""The clients with several requests in flight."""

SHORT: Final = 20
"""The calls of the shorter of two runs whose instructions are counted."""


def scenarios(*, quick: bool) -> list[Scenario]:
    """Return the scenarios; a quick run has fewer calls."""
    count, calls, alone = (2 * SHORT, 40, 8) if quick else (3 * SHORT, 1000, 100)
    page, batch, bulk = "page of 100 keys", "batch of 100 keys", "bulk delete of 1,000 keys"
    return [
        Scenario("walk", "Walk", "walk", 0, count, count, page),
        Scenario("walk_50ms", "Walk, 50 ms per request", "walk", 50, calls, alone, page),
        Scenario("create", "Batch create", "create", 0, count, count, batch),
        Scenario("create_50ms", "Batch create, 50 ms", "create", 50, calls, alone, batch),
        Scenario("delete", "Bulk delete", "delete", 0, count, count, bulk),
    ]


class Process:
    """A client process that waits for jobs until it is closed."""

    def __init__(self, client: str, environment: Environment) -> None:
        self.client = client
        self._process = subprocess.Popen(
            _make_command(client, environment),
            cwd=HERE,
            env=child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, job: str, url: str, calls: int) -> dict[str, float]:
        """Run a job and return its cost.

        Raises:
            RuntimeError: The process exited; its message is on stderr.
        """
        print(_make_line(job, url, calls), file=self._input_pipe(), flush=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.client} failed at {job}; see its message above")
        taken: dict[str, float] = json.loads(line)
        return taken

    def close(self) -> None:
        """Close its input, at which it exits."""
        with self._process:
            self._input_pipe().close()

    def _input_pipe(self) -> IO[str]:
        assert self._process.stdin is not None
        return self._process.stdin


@contextlib.contextmanager
def processes(environments: Mapping[str, Environment]) -> Iterator[list[Process]]:
    """Run all client processes."""
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.closing(Process(client, environment)))
            for client, environment in environments.items()
        ]


def _make_command(client: str, environment: Environment) -> list[str]:
    return [str(environment.python), "-m", "_peers.child", client]


def _make_line(job: str, url: str, calls: int) -> str:
    return json.dumps({"job": job, "url": url, "calls": calls})


Say = Callable[[str], None]


def time_all(
    environments: Mapping[str, Environment],
    wanted: list[Scenario],
    address: Callable[[int, int], str],
    rounds: int,
    say: Say,
) -> Samples:
    """Time the scenarios with a latency: each client once per round, in an order of its own."""
    samples: Samples = {}
    with processes(environments) as clients:
        for scenario in wanted:
            if not scenario.milliseconds:
                continue
            found: dict[str, list[float]] = {}
            # The first job of a process is not counted: it imports modules and fills caches.
            for number in range(-1, rounds):
                say(f"{scenario.title}: round {number + 1} of {rounds}")
                for client in _order_of_round(clients, number):
                    calls = scenario.calls_of(client.client) if number >= 0 else 4
                    url = address(scenario.milliseconds, calls * 100)
                    taken = client.run(scenario.job, url, calls)
                    if number >= 0:
                        found.setdefault(client.client, []).append(taken["wall"] / calls)
            samples[scenario.name] = {"wall": found}
    return samples


def count_all(
    environments: Mapping[str, Environment],
    wanted: list[Scenario],
    address: Callable[[int, int], str],
    say: Say,
) -> Samples:
    """Count the instructions of a call in the scenarios without a latency."""
    samples: Samples = {}
    for scenario in wanted:
        if scenario.milliseconds:
            continue
        found: dict[str, list[float]] = {}
        for client, environment in environments.items():
            say(f"{scenario.title}: instructions of {client}")
            counts = [
                _bench.count_instructions(
                    _make_command(client, environment),
                    cwd=HERE,
                    environment=child_environment(),
                    input=_make_line(scenario.job, address(0, calls * 100), calls),
                )
                for calls in (SHORT, scenario.calls)
            ]
            found[client] = [(counts[1] - counts[0]) / (scenario.calls - SHORT)]
        samples[scenario.name] = {"instructions": found}
    return samples


def _order_of_round(clients: list[Process], number: int) -> list[Process]:
    """Start with another client each round, and reverse the order every second round."""
    at = number % len(clients)
    rotated = clients[at:] + clients[:at]
    return rotated if number % 2 == 0 else rotated[::-1]


def peaks(
    environments: Mapping[str, Environment],
    address: Callable[[int, int], str],
    *,
    rounds: int,
    quick: bool,
    say: Say,
) -> Samples:
    """Measure the peak memory of a small job and of one ten times larger.

    Each job runs in a new process.
    """
    keys = (2_000, 20_000) if quick else (100_000, 1_000_000)
    samples: Samples = {}
    for job, per_call, wanted in (
        ("walk", 100, list(environments)),
        ("delete_stream", 1000, [name for name in environments if name in ("ours", "serial")]),
    ):
        found = samples.setdefault(f"memory_{job}", {f"{amount}": {} for amount in keys})
        for number in range(rounds):
            for amount in keys:
                say(f"Memory, {job} of {amount:,} keys: round {number + 1} of {rounds}")
                for client in wanted if number % 2 == 0 else wanted[::-1]:
                    with contextlib.closing(Process(client, environments[client])) as process:
                        taken = process.run(job, address(0, amount), max(1, amount // per_call))
                    found[f"{amount}"].setdefault(client, []).append(taken["peak"])
    return samples


def imports(environments: Mapping[str, Environment], rounds: int, say: Say) -> Samples:
    """Time the import of each client in a new interpreter, minus the interpreter's own start."""
    found: dict[str, list[float]] = {}
    say(f"Import: {rounds} rounds")
    for number in range(-1, rounds):  # the first run compiles the modules
        for client, environment in environments.items():
            taken = _time_python(environment, environment.statement) - _time_python(
                environment, "pass"
            )
            if number >= 0:
                found.setdefault(client, []).append(taken)
    return {"import": {"wall": found}}


def _time_python(environment: Environment, code: str) -> float:
    begin = time.perf_counter()
    subprocess.run([environment.python, "-c", code], check=True, cwd=HERE, env=child_environment())
    return time.perf_counter() - begin


def say(text: str) -> None:
    """Print progress to stderr, apart from the results."""
    print(text, file=sys.stderr, flush=True)
