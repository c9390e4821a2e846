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
# between two pages. A worker that is cancelled with a wake-up leaves nobody asleep: all others are
# cancelled with it. What a walk misses of a list in which keys are both deleted and created, its
# docstring does not promise.
BUGS: Final = (
    Bug(
        "calls are sent before their markers are synced",
        "_jobs/ledger.py",
        "        await self.sync()\n        return intents",
        "        return intents",
        "durable-job",
        seed=465,
    ),
    Bug(
        "nobody waits for late calls",
        "_jobs/reconcile.py",
        "        await asyncio.sleep(seconds)\n",
        "        await asyncio.sleep(min(seconds, 0.0))\n",
        "durable-job",
        seed=115,
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
        "            adopted = await self._delete_surplus(adopted, surplus, report_wait)",
        "            pass",
        "durable-job",
        seed=0,
    ),
    Bug(
        "surplus keys are deleted after the last keys are logged",
        "_jobs/reconcile.py",
        "            adopted = await self._delete_surplus(adopted, surplus, report_wait)\n",
        "            asyncio.get_running_loop().create_task(\n"
        "                self._delete(surplus)\n"
        "            )\n",
        "durable-job",
        seed=25,
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
        seed=2,
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
        seed=38,
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
        seed=8,
    ),
    Bug(
        "a Retry-After beyond the cap stops the client",
        "_http/client_state.py",
        "wait is not None and wait > self.policy.retry_after_cap:",
        "False:",
        "throttle",
        seed=18,
    ),
    Bug(
        "a call whose deadline has passed waits for a probe",
        "_http/outage.py",
        "        if now >= self.end_of_patience(call, now):\n            return None\n",
        "",
        "throttle",
        seed=9,
    ),
    Bug(
        "a slot that is given to a call that was cancelled is counted",
        "_http/throttle.py",
        "        if not waiter.end(None):  # cancelled or late",
        "        if not waiter.end(None) and False:  #",
        "throttle",
        seed=33,
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
        seed=94,
    ),
    Bug(
        "a lease that has ended counts as held",
        "_jobs/postgres_record.py",
        "        if _now() >= self._valid_until or self._failure is not None:\n            raise",
        "        if self._failure is not None:\n            raise",
        "leased-job",
        seed=144,
    ),
    Bug(
        "a lease that was renewed begins with the answer",
        "_jobs/postgres_record.py",
        "        return began + seconds\n",
        "        return _now() + seconds\n",
        "leased-job",
        seed=206,
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
        "        return msgspec.structs.replace(job, created=self._position",
        "        created, self._position = self._position, 0\n"
        "        return msgspec.structs.replace(job, created=created",
        "leased-job",
        seed=0,
    ),
    Bug(
        "surplus keys are deleted without a lease",
        "_keys/jobs.py",
        "(await self._make_delete_job(surplus, 4, None, before_send=check))",
        "(await self._make_delete_job(surplus, 4, None))",
        "leased-job",
        seed=216,
    ),
    Bug(
        "what was logged last is not committed",
        "_jobs/postgres_record.py",
        "            while self._failure is None and self._changes is not None:\n",
        "            if self._failure is None and self._changes is not None:\n",
        "leased-job",
        seed=625,
    ),
    Bug(
        "an update that may have been carried out counts as failed",
        "_jobs/update.py",
        "            if latest is not RequestStatus.NOT_EXECUTED:\n",
        "            if latest is RequestStatus.IN_FLIGHT:\n",
        "memory-jobs",
        seed=203,
    ),
    Bug(
        "the keys that a short response lacks count as failed",
        "_jobs/create.py",
        "        is_short = received < requested  #",
        "        is_short = False  #",
        "memory-jobs",
        seed=169,
    ),
    Bug(
        "a cancelled job drops its calls in flight",
        "_jobs/worker_pool.py",
        "            if state.status is not RequestStatus.IN_FLIGHT:\n"
        "                worker.cancel()\n",
        "            worker.cancel()\n",
        "memory-jobs",
        seed=3,
    ),
    Bug(
        "a reset with an unknown outcome is sent again",
        "_protocol/requests.py",
        'return Request("POST", path, target, _codec.read_action, idempotent=False)',
        'return Request("POST", path, target, _codec.read_action, idempotent=True)',
        "memory-jobs",
        seed=15,
    ),
    Bug(
        "keys that come twice are deleted twice",
        "_jobs/delete.py",
        "                fresh = self._drop_repeats(chunk)",
        "                fresh = chunk",
        "memory-jobs",
        seed=1,
    ),
    Bug(
        "a job does not wait for its calls in flight",
        "_jobs/worker_pool.py",
        "                await asyncio.wait(self._workers, timeout=GRACE_PERIOD)",
        "                await asyncio.sleep(0)",
        "memory-jobs",
        seed=3,
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
    Bug(
        "a cancelled call keeps its place in the queue",
        "_http/throttle.py",
        "        self._queues[priority].pop(waiter, None)\n\n    def _count",
        "\n    def _count",
        "throttle",
        seed=16,
    ),
    Bug(
        "slots of walks are not returned to walks",
        "_http/throttle.py",
        "        self._in_flight -= 1\n"
        '        self._patient_in_flight -= priority != "interactive"\n',
        "        self._in_flight -= 1\n",
        "throttle",
        seed=8,
    ),
    Bug(
        "a slot that is given back wakes nobody",
        "_http/throttle.py",
        "        if self._waits:\n            self._give_turns_soon()\n\n    def record_success",
        "\n    def record_success",
        "throttle",
        seed=3,
    ),
    Bug(
        "a shorter pause ends a longer one",
        "_http/throttle.py",
        "self._resumes_at = max(self._resumes_at, resumes_at)",
        "self._resumes_at = resumes_at",
        "throttle",
        seed=89,
    ),
    Bug(
        "a pause does not end the waits that it outlasts",
        "_http/throttle.py",
        "        self._restrained = True\n"
        "        self._end_late_waits(now)\n"
        "\n"
        "    def record_challenge",
        "        self._restrained = True\n\n    def record_challenge",
        "throttle",
        seed=11,
    ),
    Bug(
        "a 429 does not pause",
        "_http/throttle.py",
        "        rate, due = self._adaptive_rate.rate(now), self._resumes_at",
        "        rate, due = self._adaptive_rate.rate(now), -math.inf",
        "throttle",
        seed=3,
    ),
    Bug(
        "a new call overtakes those that wait",
        "_http/throttle.py",
        "        if self._restrained or self._waits or not",
        "        if self._restrained or not",
        "throttle",
        seed=3,
    ),
    Bug(
        "after a pause begins, calls do not look for it",
        "_http/throttle.py",
        "        self._resumes_at = max(self._resumes_at, resumes_at)\n"
        "        self._restrained = True",
        "        self._resumes_at = max(self._resumes_at, resumes_at)",
        "throttle",
        seed=107,
    ),
    Bug(
        "a burst of the caller's own limit has one more",
        "_http/local_rate.py",
        "max(0.0, limit.per - interval)",
        "max(0.0, limit.per)",
        "throttle",
        seed=0,
    ),
    Bug(
        "a reservation that has failed counts as under way",
        "_http/shared_rate.py",
        "        finally:\n            timer.cancel()\n            self._asked_at = None\n",
        "            self._asked_at = None\n        finally:\n            timer.cancel()\n",
        "shared-throttle",
        seed=0,
    ),
    Bug(
        "slots that were reserved wake nobody",
        "_http/shared_rate.py",
        "            timer.cancel()\n            self._asked_at = None\n        self._on_slots()",
        "            timer.cancel()\n            self._asked_at = None\n",
        "shared-throttle",
        seed=0,
    ),
    Bug(
        "a probe that is cancelled keeps its turn",
        "_http/dispatcher.py",
        "        finally:\n            outage.end_probe()\n",
        "        except asyncio.CancelledError:\n"
        "            raise\n"
        "        except BaseException:\n"
        "            outage.end_probe()\n"
        "            raise\n"
        "        outage.end_probe()\n",
        "throttle",
        seed=184,
    ),
    Bug(
        "an outage does not end with a response",
        "_http/outage.py",
        "self._by_endpoint.pop(call.endpoint, None)",
        "self._by_endpoint.get(call.endpoint)",
        "throttle",
        seed=2,
    ),
    Bug(
        "an attempt that is cancelled keeps its slot",
        "_http/dispatcher.py",
        "            return response\n"
        "        finally:\n"
        "            throttle.release(call.priority)",
        "        except asyncio.CancelledError:\n"
        "            raise\n"
        "        except BaseException:\n"
        "            throttle.release(call.priority)\n"
        "            raise\n"
        "        throttle.release(call.priority)\n"
        "        return response",
        "throttle",
        seed=0,
    ),
    Bug(
        "a batch with an unknown outcome is created again",
        "_protocol/requests.py",
        "idempotent=False, name_created=_name_first",
        "idempotent=True, name_created=_name_first",
        "memory-jobs",
        seed=20,
    ),
    Bug(
        "a key with an unknown outcome is created again",
        "_protocol/requests.py",
        "idempotent=False, name_created=_name_key",
        "idempotent=True, name_created=_name_key",
        "deadlines",
        seed=5,
    ),
    Bug(
        "an attempt that may have acted is forgotten",
        "_http/call_state.py",
        "            self.may_have_acted = True\n",
        "            pass\n",
        "memory-jobs",
        seed=374,
    ),
    Bug(
        "a call that waits for a retry counts as not executed",
        "_http/call_state.py",
        "            is_unsure = self.may_have_acted or before\n",
        "            is_unsure = False\n",
        "memory-jobs",
        seed=203,
    ),
    Bug(
        "a call is not known to be in flight",
        "_http/dispatcher.py",
        "        if call.on_status is not None:\n"
        "            call.on_status(RequestStatus.IN_FLIGHT)\n",
        "",
        "memory-jobs",
        seed=3,
    ),
    Bug(
        "a worker that has read wakes no other one",
        "_jobs/worker_pool.py",
        "            if self._result_slots or self._drained:\n",
        "            if self._drained:\n",
        "memory-jobs",
        seed=128,
    ),
    Bug(
        "a call that has ended counts as in flight",
        "_jobs/worker_pool.py",
        "            state.status = RequestStatus.NOT_EXECUTED\n            if result",
        "            if result",
        "memory-jobs",
        seed=10,
    ),
    Bug(
        "calls go on after a failure",
        "_jobs/worker_pool.py",
        "        self.failure = self.failure or failure\n"
        "        self._stopped = True\n"
        "        for worker",
        "        self.failure = self.failure or failure\n        for worker",
        "memory-jobs",
        seed=49,
    ),
    Bug(
        "two changes of a key are in flight together",
        "_jobs/update.py",
        "        async with self._locks.setdefault(key, asyncio.Lock()):",
        "        async with asyncio.Lock():",
        "memory-jobs",
        seed=27,
    ),
    Bug(
        "a deletion that is split loses keys",
        "_jobs/delete.py",
        "for at in range(0, len(part), most)][::-1]",
        "for at in range(0, len(part) - most + 1, most)][::-1]",
        "memory-jobs",
        seed=437,
    ),
    Bug(
        "the keys of an event are counted again in the next",
        "_jobs/job.py",
        "keys, self._reported = done - self._reported, done",
        "keys = done - self._reported",
        "memory-jobs",
        seed=0,
    ),
    Bug(
        "a walk that is left goes on fetching",
        "_pagination/list_pass.py",
        "            for task in self._in_flight:\n                task.cancel()\n",
        "            self._in_flight.clear()\n",
        "walk",
        seed=9,
    ),
    Bug(
        "each page of a walk counts as a change",
        "_pagination/list_pass.py",
        "        if before is not None and total != before:\n            self.report_drift",
        "        if before is not None:\n            self.report_drift",
        "walk",
        seed=1,
    ),
    Bug(
        "all keys of a page count as repeats",
        "_pagination/list_pass.py",
        "        repeats = len(page.keys) - len(fresh.keys)\n",
        "        repeats = len(page.keys)\n",
        "walk",
        seed=1,
    ),
    Bug(
        "a lease is renewed too late",
        "_jobs/postgres_record.py",
        "asyncio.sleep(self.lease / 3)",
        "asyncio.sleep(self.lease)",
        "leased-job",
        seed=40,
    ),
    Bug(
        "who gives up a shared look-up ends that of others",
        "_verification/shared_calls.py",
        "        if call.waiting or call.task.done():",
        "        if call.task.done():",
        "look-ups",
        seed=1,
    ),
    Bug(
        "a look-up is not shielded from those who wait for it",
        "_verification/shared_calls.py",
        "ended = await asyncio.shield(call.task)",
        "ended = await call.task",
        "look-ups",
        seed=1,
    ),
    Bug(
        "a look-up goes on for nobody",
        "_verification/shared_calls.py",
        "        call.waiting -= 1\n",
        "",
        "look-ups",
        seed=0,
    ),
    Bug(
        "a look-up that will end too early is joined",
        "_verification/shared_calls.py",
        "2 * (call.ends_at - loop.time()) >= ends_at - loop.time()",
        "True",
        "look-ups",
        seed=5,
    ),
    Bug(
        "a look-up that was given up is joined",
        "_verification/shared_calls.py",
        "        self._drop(name, call)  # so that nobody joins it any more\n",
        "",
        "look-ups",
        seed=4,
    ),
    Bug(
        "who joins a look-up has no deadline",
        "_verification/shared_calls.py",
        "asyncio.timeout_at(limit)",
        "asyncio.timeout_at(None)",
        "look-ups",
        seed=1,
    ),
    Bug(
        "a look-up brings back what was changed meanwhile",
        "_verification/known_keys.py",
        "or self._is_changed((key.id, hashed), changes):",
        "or False:",
        "look-ups",
        seed=14,
    ),
    Bug(
        "a key is forgotten only before it is changed",
        "_verification/look_ups.py",
        "        self._known.forget(keys)\n"
        "        try:\n"
        "            yield\n"
        "        finally:\n"
        "            self._known.forget(keys)",
        "        self._known.forget(keys)\n        yield",
        "look-ups",
        seed=1,
    ),
    Bug(
        "the age of an answer begins with its end",
        "_verification/look_ups.py",
        "            self._known.remember(value, found, began, changes)",
        "            self._known.remember(value, found, self._clock(), changes)",
        "look-ups",
        seed=0,
    ),
    Bug(
        "a look-up from before a change is joined",
        "_verification/look_ups.py",
        "        name = (self._known.hash_value(value), changes, *look_up.scope)",
        "        name = (self._known.hash_value(value), *look_up.scope)",
        "look-ups",
        seed=103,
    ),
    Bug(
        "a stale answer is not looked at again",
        "_verification/look_ups.py",
        "            if (spare := self._find_spare(look_up)) is None:\n                raise\n",
        "            if spare is None:\n                raise\n",
        "look-ups",
        seed=2,
    ),
    Bug(
        "nobody looks whether the service is back",
        "_verification/service_health.py",
        "        self._next_probe_at = now + self._probe_after\n        return False",
        "        return True",
        "look-ups",
        seed=0,
    ),
    Bug(
        "calls wait although their client is closed",
        "_http/throttle.py",
        "        for wait in self._waits:\n            wait.end(make_closed_error())\n",
        "",
        "throttle",
        seed=0,
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
