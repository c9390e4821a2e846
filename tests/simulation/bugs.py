"""Bugs that the simulation must find: small patches of the package, made while it is imported.

``python -m tests.simulation.bugs [NAME ...]`` looks for the first seed that finds each.
``--recorded`` runs the seeds that are recorded here: with the bug, and without it.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
import time
from collections.abc import Generator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

import attrs


@attrs.frozen
class Bug:
    """One replacement in one file, and the scenario and seed that find it."""

    name: str
    file: str
    right: str
    wrong: str
    scenario: str
    seed: int

    @property
    def module(self) -> str:
        """The name of the module that has the bug."""
        return "junkie_async." + self.file.removesuffix(".py").replace("/", ".")


# Some lines are left out, as hardly any seed shows what they are for. Keys that are given before
# they are synced are found again by their markers. A search of a job that reads pages ahead, or is
# made once, misses a key of a call in doubt only if one key is deleted and another one created
# between two pages. What a walk misses of a list in which keys are both deleted and created, its
# docstring does not promise.
BUGS: Final = (
    Bug(
        "calls are sent before their markers are synced",
        "_jobs/ledger.py",
        "        await self.sync()\n        return intents",
        "        return intents",
        "durable-job",
        seed=53,
    ),
    Bug(
        "nobody waits for late calls",
        "_jobs/reconcile.py",
        "        await asyncio.sleep(seconds)\n",
        "        await asyncio.sleep(min(seconds, 0.0))\n",
        "durable-job",
        seed=8,
    ),
    Bug(
        "a resumed job does not wait for the calls of the run before",
        "_jobs/create.py",
        "            self._reconciler.restart_delay()  # an earlier run may just have sent calls",
        "            pass",
        "durable-job",
        seed=115,
    ),
    Bug(
        "surplus keys are not deleted",
        "_jobs/reconcile.py",
        "            await self._delete([key.id for _, key in surplus])",
        "            pass",
        "durable-job",
        seed=0,
    ),
    Bug(
        "surplus keys are deleted after the last keys are logged",
        "_jobs/reconcile.py",
        "            await self._delete([key.id for _, key in surplus])\n",
        "            asyncio.get_running_loop().create_task(\n"
        "                self._delete([key.id for _, key in surplus])\n"
        "            )\n",
        "durable-job",
        seed=10,
    ),
    Bug(
        "repeated answers are believed",
        "_jobs/ledger.py",
        "        if not self.seen.add_all(keys):\n            return False\n        self._update",
        "        self.seen.add_all(keys)\n        self._update",
        "durable-job",
        seed=77,
    ),
    Bug(
        "an order that may have been sent is closed",
        "_jobs/order.py",
        "        is_final = not intent.in_doubt or outcome is Outcome.NOT_EXECUTED",
        "        is_final = True",
        "orders",
        seed=0,
    ),
    Bug(
        "an order does not wait for its late call",
        "_jobs/order.py",
        "            reconciler.restart_delay(passed=ledger.doubted_for)",
        "            reconciler.restart_delay(passed=1e9)",
        "orders",
        seed=253,
    ),
    Bug(
        "orders are not locked between processes",
        "_jobs/sqlite_record.py",
        "            self._lock.enter_context(lock_job(self.file.path, self.name))",
        "            pass",
        "orders",
        seed=0,
    ),
    Bug(
        "an order takes the key of another one",
        "_jobs/order.py",
        "        _check_marker(key, intent.marker)\n",
        "",
        "orders",
        seed=6,
    ),
    Bug(
        "a walk does not look again where keys were deleted",
        "_pagination/list_pass.py",
        "                self._total_before_drop = before\n",
        "                pass\n",
        "walk",
        seed=34,
    ),
    Bug(
        "a walk gives keys again",
        "_pagination/list_pass.py",
        "            fresh = drop_seen(page, self.seen)\n            if self.end",
        "            fresh = page\n            if self.end",
        "walk",
        seed=1,
    ),
    Bug(
        "a page that was served before the one before it is believed",
        "_pagination/list_pass.py",
        "            page = await get_page(self.fetch, self._number, self.limit)\n"
        "            total = self._believed_total(page, self._number, before)",
        "            total = self._believed_total(page, self._number, before)",
        "walk",
        seed=360,
    ),
    Bug(
        "a slot is lost when its call is cancelled in the same moment",
        "_http/throttle.py",
        "                self.release(priority)  # the slot was given",
        "                pass  # the slot was given",
        "throttle",
        seed=20,
    ),
    Bug(
        "a walk starves while interactive calls use all slots",
        "_http/throttle.py",
        "        return is_kept_free and self._patient_in_flight < self.ceiling - 1\n",
        "        return False\n",
        "throttle",
        seed=8,
    ),
    Bug(
        "a walk starves while interactive calls wait for the rate",
        "_http/throttle.py",
        "return self._passed_over[priority] >= _MAX_PASSED_OVER",
        "return False",
        "throttle",
        seed=0,
    ),
    Bug(
        "a reset in a year stops the client",
        "_http/stated_limit.py",
        "min(stated.reset, self.max_reset)",
        "stated.reset",
        "throttle",
        seed=3,
    ),
    Bug(
        "a Retry-After beyond the cap stops the client",
        "_http/client_state.py",
        "wait is not None and wait > self.policy.retry_after_cap:",
        "False:",
        "throttle",
        seed=4,
    ),
    Bug(
        "a call whose deadline has passed waits for a probe",
        "_http/outage.py",
        "        if now >= self.end_of_patience(call, now):\n            return None\n",
        "",
        "throttle",
        seed=56,
    ),
    Bug(
        "a slot that is given to a call that was cancelled is counted",
        "_http/throttle.py",
        "        if not waiter.end(None):  # cancelled or late",
        "        if not waiter.end(None) and False:  #",
        "throttle",
        seed=15,
    ),
    Bug(
        "a burst of the caller's own limit comes twice",
        "_http/local_rate.py",
        "        self._arrival = max(self._arrival, now) + self.interval",
        "        self._arrival = max(self._arrival, now - self.tolerance) + self.interval",
        "throttle",
        seed=0,
    ),
    Bug(
        "the wait for a slot has no deadline",
        "_http/throttle.py",
        "            waiter.timers.append(loop.call_at(deadline, waiter.time_out))",
        "            pass",
        "deadlines",
        seed=4,
    ),
    Bug(
        "an attempt takes its own time-out beside the deadline",
        "_http/dispatcher.py",
        "self._transport.attempt(call.request, state, call.deadline - begin)",
        "self._transport.attempt(call.request, state, 1e9)",
        "deadlines",
        seed=0,
    ),
    Bug(
        "each request of a call has the whole deadline",
        "_keys/calls.py",
        "        return max(0.0, self._ends_at - running_loop().time())",
        "        return self.deadline",
        "deadlines",
        seed=14,
    ),
    Bug(
        "an order waits for its late call, whatever the deadline is",
        "_jobs/order.py",
        "        if await _has_ended(filling, ends_at):",
        "        if await _has_ended(filling, None):",
        "deadlines",
        seed=2,
    ),
    Bug(
        "a coroutine function for the API key has no deadline",
        "_http/dispatcher.py",
        "            await self._api_key.obtain(call.deadline, timeout)",
        "            await self._api_key.obtain(1e9, 1e9)",
        "deadlines",
        seed=13,
    ),
    Bug(
        "the lease is not looked at before a request is sent",
        "_keys/jobs.py",
        "                before_send=journal.check_writer if journal.can_lose_writer else None,\n",
        "                before_send=None,\n",
        "leased-job",
        seed=10,
    ),
    Bug(
        "a lease that has ended counts as held",
        "_jobs/postgres_record.py",
        "        if _now() >= self._valid_until or self._failure is not None:\n            raise",
        "        if self._failure is not None:\n            raise",
        "leased-job",
        seed=10,
    ),
    Bug(
        "a lease that was renewed begins with the answer",
        "_jobs/postgres_record.py",
        "        return began + seconds\n",
        "        return _now() + seconds\n",
        "leased-job",
        seed=10,
    ),
    Bug(
        "a worker that has lost its lease goes on writing",
        "_jobs/postgres_record.py",
        '        if await db.execute(changes.make_statement(write_lease, **job)) != "SELECT 1":\n',
        "        await db.execute(changes.make_statement(write_lease, **job))\n        if False:\n",
        "leased-job",
        seed=2,
    ),
    Bug(
        "keys of a run before are overwritten",
        "_jobs/postgres_record.py",
        "            self._position += len(keys)\n        read",
        "            self._position += len(keys)\n        self._position = 0\n        read",
        "leased-job",
        seed=0,
    ),
    Bug(
        "surplus keys are deleted without a lease",
        "_keys/jobs.py",
        "                await self._make_delete_job(surplus, 4, None, before_send=check)\n",
        "                await self._make_delete_job(surplus, 4, None)\n",
        "leased-job",
        seed=216,
    ),
    Bug(
        "what was logged last is not committed",
        "_jobs/postgres_record.py",
        "            while self._failure is None and self._changes is not None:\n",
        "            if self._failure is None and self._changes is not None:\n",
        "leased-job",
        seed=72,
    ),
    Bug(
        "an update that may have been carried out counts as failed",
        "_jobs/update.py",
        "            if latest is not RequestStatus.NOT_EXECUTED:\n",
        "            if latest is RequestStatus.IN_FLIGHT:\n",
        "memory-jobs",
        seed=110,
    ),
    Bug(
        "the keys that a short response lacks count as failed",
        "_jobs/create.py",
        "        is_short = received < requested  #",
        "        is_short = False  #",
        "memory-jobs",
        seed=127,
    ),
    Bug(
        "a cancelled job drops its calls in flight",
        "_jobs/worker_pool.py",
        "        for worker in self._workers - self._in_flight:\n",
        "        for worker in self._workers:\n",
        "memory-jobs",
        seed=7,
    ),
    Bug(
        "a reset with an unknown outcome is sent again",
        "_protocol/requests.py",
        'return Request("POST", path, target, _codec.read_action, idempotent=False)',
        'return Request("POST", path, target, _codec.read_action, idempotent=True)',
        "memory-jobs",
        seed=6,
    ),
    Bug(
        "keys that come twice are deleted twice",
        "_jobs/delete.py",
        "                fresh = self._drop_repeats(chunk)",
        "                fresh = chunk",
        "memory-jobs",
        seed=14,
    ),
    Bug(
        "a job does not wait for its calls in flight",
        "_jobs/worker_pool.py",
        "                await asyncio.wait(self._workers, timeout=GRACE_PERIOD)",
        "                await asyncio.sleep(0)",
        "memory-jobs",
        seed=7,
    ),
    Bug(
        "reserved slots never lapse",
        "_http/shared_rate.py",
        "_LAPSE: Final = 0.05",
        "_LAPSE: Final = 50.0",
        "shared-throttle",
        seed=7,
    ),
    Bug(
        "nobody notices that Redis hangs",
        "_http/shared_rate.py",
        '            self._lose("TimeoutError")\n            self._on_slots()',
        "            pass",
        "shared-throttle",
        seed=0,
    ),
    Bug(
        "without Redis each process takes the whole rate",
        "_http/shared_rate.py",
        "            self._share_interval = reservation.interval * reservation.clients",
        "            self._share_interval = reservation.interval",
        "shared-throttle",
        seed=1,
    ),
    Bug(
        "a process that has lost Redis never looks for it",
        "_http/shared_rate.py",
        "        self._start(self._probe())",
        "        pass",
        "shared-throttle",
        seed=0,
    ),
    Bug(
        "a 429 pauses one process alone",
        "_http/shared_rate.py",
        "            self._start(self._share_pause(pause, number, now - sent))",
        "            pass",
        "shared-throttle",
        seed=5,
    ),
    Bug(
        "slots are closer than the rate allows",
        "_http/redis_scripts.py",
        "  state.next = at + 1000000 / find_rate(known)",
        "  state.next = at + 800000 / find_rate(known)",
        "shared-throttle",
        seed=1,
    ),
    Bug(
        "a rate that was not used is saved up",
        "_http/redis_scripts.py",
        "  local at = math.max(state.next, now - CATCH_UP)",
        "  local at = math.max(state.next, now - 2000000)",
        "shared-throttle",
        seed=1,
    ),
)


class _BuggyLoader(SourceFileLoader):
    """Loads a module with a bug."""

    bug: Bug

    def get_code(self, fullname: str) -> CodeType:
        text = Path(self.path).read_text("utf-8")
        assert text.count(self.bug.right) == 1, f"{self.bug.name}: {self.bug.file} has changed"
        return compile(text.replace(self.bug.right, self.bug.wrong), self.path, "exec")


class _BuggyFinder(MetaPathFinder):
    """Finds one module with a bug, and no other."""

    def __init__(self, bug: Bug) -> None:
        self._bug = bug

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._bug.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = loader = _BuggyLoader(fullname, spec.origin)
        loader.bug = self._bug
        return spec


@contextlib.contextmanager
def import_package(bug: Bug | None) -> Generator[Any]:
    """Import the package and the simulation anew, with a bug, and give the module `world`."""
    _forget_package()
    finders = [] if bug is None else [_BuggyFinder(bug)]
    sys.meta_path[:0] = finders
    try:
        yield importlib.import_module("tests.simulation.world")
    finally:
        for finder in finders:
            sys.meta_path.remove(finder)
        _forget_package()


def _forget_package() -> None:
    for name in [*sys.modules]:
        if name.startswith(("junkie_async", "tests.simulation.")) and name != __name__:
            del sys.modules[name]


def find(bug: Bug, seeds: Sequence[int]) -> int | None:
    """Return the first seed that finds a bug."""
    with import_package(bug) as world:
        scenario = importlib.import_module("tests.simulation.scenarios").SCENARIOS[bug.scenario]
        return next((seed for seed in seeds if world.run(scenario, seed).violations), None)


def check_recorded(bugs: Sequence[Bug]) -> list[str]:
    """Return what is wrong about the recorded seeds."""
    with import_package(None) as world:
        scenarios = importlib.import_module("tests.simulation.scenarios").SCENARIOS
        wrong = [
            f"{bug.scenario} --first {bug.seed}: {result.violations}"
            for bug in bugs
            if (result := world.run(scenarios[bug.scenario], bug.seed)).violations
        ]
    return wrong + [f"not found: {bug.name}" for bug in bugs if find(bug, [bug.seed]) is None]


def main() -> int:
    """Look for all bugs, or the named ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="words of the bugs' names, or scenarios")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--recorded", action="store_true", help="run the recorded seeds alone")
    options = parser.parse_args()
    sys.unraisablehook = lambda _: None  # of crashed processes: their code is ended anywhere
    named = [
        bug
        for bug in BUGS
        if not options.names
        or any(word in bug.name or word == bug.scenario for word in options.names)
    ]
    if options.recorded:
        wrong = check_recorded(named)
        print("\n".join([*wrong, f"{len(named)} bugs, {len(wrong)} wrong"]))
        return min(len(wrong), 1)
    missed = 0
    for bug in named:
        begun = time.perf_counter()
        seed = find(bug, range(options.seeds))
        missed += seed is None
        found = "not found" if seed is None else f"seed {seed}"
        seconds = time.perf_counter() - begun
        print(f"{found:>10}  {seconds:5.1f} s  {bug.scenario}: {bug.name}", flush=True)
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
