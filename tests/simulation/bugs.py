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
    seed: int = 0

    @property
    def module(self) -> str:
        """The name of the module that has the bug."""
        return "junkie_async." + self.file.removesuffix(".py").replace("/", ".")


BUGS: Final = (
    Bug(
        "calls are sent before their markers are synced",
        "_jobs/ledger.py",
        "        await self.sync()\n        return intents",
        "        return intents",
        "durable-job",
    ),
    Bug(
        "keys are given before they are synced",
        "_jobs/create.py",
        "        await self._journal.sync()\n        self._yielded",
        "        self._yielded",
        "durable-job",
    ),
    Bug(
        "nobody waits for late calls",
        "_jobs/reconcile.py",
        "        await asyncio.sleep(seconds)\n",
        "        await asyncio.sleep(min(seconds, 0.0))\n",
        "durable-job",
    ),
    Bug(
        "a resumed job does not wait for the calls of the run before",
        "_jobs/create.py",
        "            self._reconciler.restart_delay()  # an earlier run may just have sent calls",
        "            pass",
        "durable-job",
    ),
    Bug(
        "surplus keys are not deleted",
        "_jobs/reconcile.py",
        "            await self._delete([key.id for _, key in surplus])",
        "            pass",
        "durable-job",
    ),
    Bug(
        "surplus keys are deleted after the last keys are logged",
        "_jobs/reconcile.py",
        "            await self._delete([key.id for _, key in surplus])\n",
        "            asyncio.get_running_loop().create_task(\n"
        "                self._delete([key.id for _, key in surplus])\n"
        "            )\n",
        "durable-job",
    ),
    Bug(
        "repeated answers are believed",
        "_jobs/ledger.py",
        "        if not self.seen.add_all(keys):\n            return False\n        self._update",
        "        self.seen.add_all(keys)\n        self._update",
        "durable-job",
    ),
    Bug(
        "the search of a job reads pages ahead",
        "_jobs/key_search.py",
        "_PREFETCH: Final = 1",
        "_PREFETCH: Final = 4",
        "durable-job",
    ),
    Bug(
        "the search of a job is not repeated",
        "_jobs/key_search.py",
        "            is_confirmed = number and len(self._found) == before and not self._is_torn",
        "            is_confirmed = True",
        "durable-job",
    ),
    Bug(
        "an order that may have been sent is closed",
        "_jobs/order.py",
        "        is_final = not intent.in_doubt or outcome is Outcome.NOT_EXECUTED",
        "        is_final = True",
        "orders",
    ),
    Bug(
        "an order does not wait for its late call",
        "_jobs/order.py",
        "            reconciler.restart_delay(passed=ledger.doubted_for)",
        "            reconciler.restart_delay(passed=1e9)",
        "orders",
    ),
    Bug(
        "orders are not locked between processes",
        "_jobs/sqlite_record.py",
        "            self._lock.enter_context(lock_job(self.file.path, self.name))",
        "            pass",
        "orders",
    ),
    Bug(
        "an order takes the key of another one",
        "_jobs/order.py",
        "        _check_marker(key, intent.marker)\n",
        "",
        "orders",
    ),
    Bug(
        "a walk does not look again where keys were deleted",
        "_pagination/list_pass.py",
        "                self._total_before_drop = before\n",
        "                pass\n",
        "walk",
    ),
    Bug(
        "a walk gives keys again",
        "_pagination/list_pass.py",
        "            fresh = drop_seen(page, self.seen)\n            if self.end",
        "            fresh = page\n            if self.end",
        "walk",
    ),
    Bug(
        "a page that was served before the one before it is believed",
        "_pagination/list_pass.py",
        "            page = await get_page(self.fetch, self._number, self.limit)\n"
        "            if self._has_dropped(page):",
        "            if self._has_dropped(page):",
        "walk",
    ),
    Bug(
        "a walk looks again only once, though more keys are deleted",
        "_pagination/list_pass.py",
        "            lowest = min(lowest, total)\n",
        "",
        "walk",
    ),
    Bug(
        "keys that were created push others past a second look",
        "_pagination/list_pass.py",
        "            created = total - latest\n",
        "            created = 0\n",
        "walk",
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
