"""Bugs that the simulation must find: small patches of a copy of the package.

``python -m tests.simulation.bugs [NAME ...]`` looks for the first seed that finds each.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import attrs

_ROOT: Final = Path(__file__).parents[2]


@attrs.frozen
class Bug:
    """One replacement in one file, and the scenario and seed that find it."""

    name: str
    file: str
    right: str
    wrong: str
    scenario: str
    seed: int = 0


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


def find(bug: Bug, first: int, seeds: int) -> int | None:
    """Return the first seed that finds a bug."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for part in ("junkie_async", "tests/simulation"):
            shutil.copytree(_ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        (copy / "tests/__init__.py").touch()
        file = copy / "junkie_async" / bug.file
        text = file.read_text("utf-8")
        assert text.count(bug.right) == 1, f"{bug.name}: {bug.file} has changed"
        file.write_text(text.replace(bug.right, bug.wrong), "utf-8")
        command = [sys.executable, "-m", "tests.simulation", bug.scenario, "--stop"]
        command += ["--first", str(first), "--seeds", str(seeds)]
        ended = subprocess.run(
            command,
            cwd=copy,
            env=os.environ | {"PYTHONPATH": folder},
            capture_output=True,
            text=True,
        )
    found = [line for line in ended.stdout.splitlines() if line.startswith("python -m")]
    assert found or ended.returncode == 0, ended.stderr
    return int(found[0].split()[-3]) if found else None


def main() -> int:
    """Look for all bugs, or the named ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="words of the bugs' names")
    parser.add_argument("--seeds", type=int, default=1000)
    options = parser.parse_args()
    missed = 0
    for bug in BUGS:
        if options.names and not any(word in bug.name for word in options.names):
            continue
        seed = find(bug, 0, options.seeds)
        missed += seed is None
        print(f"{'not found' if seed is None else f'seed {seed}':>10}  {bug.scenario}: {bug.name}")
        sys.stdout.flush()
    return min(missed, 1)


if __name__ == "__main__":
    sys.exit(main())
