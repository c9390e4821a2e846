"""Run mutmut on the rooms that `[tool.mutmut]` names, with tests that are collected once.

mutmut starts pytest anew for each mutant, and collecting takes longer than the tests do: 5,000
tests, 12,000 mutants. Here each mutant's process is forked from one session that has collected.
It runs the tests that call the mutated function, those of the fewest functions first.

    pip install -e ".[mutation]"  # on CPython 3.12 or newer
    nice python .mutation/run.py 'junkie_async._protocol.*'       # those, again
    nice python .mutation/run.py                                  # all that have no result yet
    nice python .mutation/run.py --survivors --tests tests/unit/test_codec.py  # by new tests
    nice python .mutation/run.py --limit 20                       # at most 20 s of tests for each
    nice python .mutation/run.py --survivors 'junkie_async._http.*'  # those that survived, again
    python .mutation/run.py --score                               # killed and total of each room
    mutmut results; mutmut show NAME                              # what survived, and its diff

Results stay in `mutants/`, which `rm -r` resets: do that after you have changed the package.
CPython 3.11 crashes when `clear_frames` meets the frames of mutmut's wrappers.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import chdir, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from mutmut import __main__ as mutmut
from mutmut.configuration import config
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.runners.harness import ListAllTestsResult, PytestRunner
from mutmut.state import state
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import (
    copy_also_copy_files,
    copy_src_dir,
    setup_source_paths,
    walk_mutatable_files,
)
from mutmut.utils.format_utils import mangled_name_from_mutant_name
from mutmut.workers import isolation

_CPU_SECONDS = 5
"""What a mutant's tests may take beyond their usual time, before they are said to be endless."""


class _Runner(isolation.ForkRunner):
    """Forks the process of each mutant from a session that has collected the tests."""

    def __init__(self, session: pytest.Session, options: argparse.Namespace) -> None:
        super().__init__(options.workers, PytestRunner())
        self.options = options
        self.session = session
        self.items = {item.nodeid: item for item in session.items}
        self.passed: set[str] = set()
        self.calls: Counter[str] = Counter()

    def submit(self, mutant_name: str, tests: list[str], *_: float) -> None:
        chosen = self._order_tests(tests)
        pid = os.fork()
        if pid:
            self._running[pid] = isolation.RunningWorker(mutant_name, datetime.now(), 0)  # noqa: DTZ005 - as mutmut's
            return
        set_mutant_under_test(mutant_name)
        usual = sum(state().duration_by_test[test] for test in chosen)
        limit = int(time.process_time() + usual + _CPU_SECONDS)
        resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
        os._exit(self._run_items(chosen))

    def run_clean_tests(self, tests: Iterable[str]) -> int:
        if self.options.skip_clean:
            return 0
        left = set(tests or self.items) - self.passed
        return isolation.run_in_fork(self._run_and_log, sorted(left))

    def run_forced_fail(self) -> int:
        return isolation.run_in_fork(self._run_items, list(self.items))

    def collect_stats(self, tests: Iterable[str] | None) -> int:
        code, calls, durations = isolation.run_in_fork_with_result(
            self._collect_calls, list(tests or self.items)
        )
        for function, callers in calls.items():
            state().tests_by_mangled_function_name[function] |= callers
        state().duration_by_test.update(durations)
        self.passed.update(durations if code == 0 else ())
        return int(code)

    def _collect_calls(self, tests: list[str]) -> tuple[int, dict[str, set[str]], dict[str, float]]:
        recorder = _CallRecorder()
        self.session.config.pluginmanager.register(recorder)
        return self._run_and_log(tests), recorder.calls, recorder.durations

    def list_all_tests(self) -> ListAllTestsResult:
        if not self.options.tests:
            return ListAllTestsResult(ids=set(self.items))
        for name in self.options.names:
            function = mangled_name_from_mutant_name(name)
            state().tests_by_mangled_function_name[function] = set(self.items)
        durations = state().duration_by_test
        durations.update({test: durations.get(test, 0.0) for test in self.items})
        return ListAllTestsResult(ids=set(durations))

    def _order_tests(self, tests: list[str]) -> list[str]:
        if not self.calls:  # how many functions a test calls
            for several in state().tests_by_mangled_function_name.values():
                self.calls.update(several)
        calls = self.calls
        durations = state().duration_by_test
        chosen: list[str] = []
        seconds = 0.0
        for test in sorted(tests, key=lambda test: (calls[test] * 0.01 + durations[test], test)):
            seconds += durations[test]
            if chosen and seconds > self.options.limit:
                break
            chosen.append(test)
        return chosen

    def _run_and_log(self, tests: list[str]) -> int:
        code = self._run_items(tests)
        reporter: Any = self.session.config.pluginmanager.get_plugin("terminalreporter")
        failed = [*reporter.stats.get("failed", []), *reporter.stats.get("error", [])]
        text = "\n".join(f"{report.nodeid}\n{report.longrepr}" for report in failed)
        Path("mutants/failed.log").write_text(text)
        return code

    def _run_items(self, tests: Iterable[str]) -> int:
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        session = self.session
        session.items = [self.items[test] for test in tests]
        _clear_caches()
        with chdir("mutants"), suppress(pytest.Session.Interrupted, pytest.Session.Failed):
            session.config.hook.pytest_runtestloop(session=session)
        return int(session.testsfailed > 0)


class _CallRecorder:
    """Records which tests call a function, and how long they take."""

    def __init__(self) -> None:
        self.calls: dict[str, set[str]] = {}
        self.durations: dict[str, float] = {}

    def pytest_runtest_setup(self) -> None:
        _clear_caches()  # or only the first test would call a cached function

    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        for function in state()._stats:
            self.calls.setdefault(function, set()).add(item.nodeid)
        state()._stats.clear()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.durations[report.nodeid] = report.duration
        else:
            self.durations.setdefault(report.nodeid, 0.0)  # it may be skipped


def _clear_caches() -> None:
    for name in [name for name in sys.modules if name.startswith("junkie_async")]:
        for one in vars(sys.modules[name]).values():
            clear = getattr(one, "cache_clear", None)
            if clear is not None:
                clear()


class _Loop:
    """Gives the session that has collected to ``work``, in place of pytest's loop."""

    def __init__(self, work: Callable[[pytest.Session], None]) -> None:
        self.work = work
        self.is_open = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if self.is_open:
            return None  # a mutant's
        self.is_open = True
        with chdir(".."):
            self.work(session)
        return True


def _generate_mutants(workers: int) -> None:
    set_mutant_under_test("mutant_generation")
    Path("mutants").mkdir(exist_ok=True)
    with mutmut.CatchOutput():
        copy_src_dir()
        copy_also_copy_files()
        setup_source_paths()
        mutmut.create_mutants(workers)
    set_mutant_under_test("")


def _run_mutants(options: argparse.Namespace) -> None:
    def work(session: pytest.Session) -> None:
        runner = _Runner(session, options)
        setattr(mutmut, "get_mutant_runner", lambda _: runner)  # noqa: B010 - mypy refuses the other
        mutmut._run(options.names, options.workers)

    selection = config().pytest_add_cli_args_test_selection
    arguments = [
        *("--rootdir=.", "-x", "-s", "-q", "--tb=native"),
        *(one for one in selection if not options.tests or one.startswith("-")),
        *(options.tests or ()),
        *config().pytest_add_cli_args,
    ]
    with chdir("mutants"):
        pytest.main(arguments, plugins=[_Loop(work)])


def _load_results() -> dict[str, str]:
    results: dict[str, str] = {}
    for path in walk_mutatable_files():
        data = SourceFileMutationData(path=path)
        data.load()
        results |= {key: status_by_exit_code[code] for key, code in data.exit_code_by_key.items()}
    return results


def _print_score() -> None:
    rooms: dict[str, Counter[str]] = {}
    for name, status in _load_results().items():
        rooms.setdefault(name.split(".")[1], Counter())[status] += 1
    for room, counts in sorted(rooms.items()):
        total = counts.total() - counts["not checked"]
        killed = counts["killed"] + counts["timeout"]
        if total:
            print(f"{room:15} {killed:5} of {total:5} = {killed / total:.1%}  {dict(counts)}")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", help="mutants, with *; else all without a result")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--survivors", action="store_true", help="only survivors")
    parser.add_argument("--unchecked", action="store_true", help="only those without a result")
    parser.add_argument("--tests", nargs="+", help="only the tests of these files, and all of them")
    parser.add_argument("--sample", type=int, default=0, help="so many of these, at random")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--score", action="store_true", help="only print the score")
    parser.add_argument(
        "--limit", type=float, default=float("inf"), help="seconds of tests for a mutant"
    )
    parser.add_argument(
        "--skip-clean", action="store_true", help="do not see first that the tests pass"
    )
    given = parser.parse_args()
    if given.score:
        _print_score()
        return
    _generate_mutants(given.workers)
    results = _load_results()
    names = [
        name for name in results if any(fnmatch.fnmatch(name, one) for one in given.names or ["*"])
    ]
    if given.survivors:
        names = [name for name in names if results[name] in ("survived", "no tests")]
    elif given.unchecked or not given.names:
        names = [name for name in names if results[name] == "not checked"]
    if given.sample:
        names = random.Random(given.seed).sample(names, min(given.sample, len(names)))  # noqa: S311
    given.names = names
    if names:
        _run_mutants(given)
    _print_score()


if __name__ == "__main__":
    main()
