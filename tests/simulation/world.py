"""One run: a world made from a seed, a scenario that plays in it, and what must hold in the end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from pathlib import Path
from random import Random
from typing import Any, Final, TypeAlias

import attrs
import pytest

import junkie_async._client
from junkie_async import JunkieClient, Outcome

from .disk import replace_disks
from .event_loop import Process, SimulatedLoop, current_process
from .network import Network, SimulatedTransport
from .service import Service

URL: Final = "http://127.0.0.1"
_MAX_STEPS: Final = 200_000
"""Iterations of the event loop. A run that takes more goes round in circles."""

_MAX_STEPS_AT_ONCE: Final = 600
"""Those within a millisecond. A program that takes more is busy with nothing."""


class World:
    """What scenarios work with.

    Attributes:
        dice: All choices of the run come from it.
        violations: What must not happen, and has.
        creations: The keys that single calls were to create, by their name, and the outcome.
    """

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed = seed
        self.folder = folder
        self.dice = Random(seed)
        self.loop = SimulatedLoop(Random(self.dice.random()))
        self.loop.on_step = self._check_step
        self.violations: list[str] = []
        self.creations: dict[str, tuple[int, Outcome]] = {}
        self._moment, self._first_step = 0.0, 0
        self.processes: list[Process] = []
        self.main_tasks: set[asyncio.Task[Any]] = set()
        self.service = Service(self.loop, Random(self.dice.random()))
        self.network = Network(self.loop, Random(self.dice.random()), self.service)
        self.loop.set_exception_handler(self._note_exception)

    def check(self, holds: object, what: str) -> None:
        """Note a violation, unless something holds."""
        if not holds:
            self.violations.append(what)

    def happens(self, probability: float) -> bool:
        """Throw the dice."""
        return self.dice.random() < probability

    def new_process(self, name: str, *, clock_offset: float = 0.0) -> Process:
        """Make a process, which has no code yet."""
        process = Process(name, clock_offset=clock_offset)
        self.processes.append(process)
        return process

    def start(
        self, process: Process, work: Coroutine[Any, Any, Any], name: str | None = None
    ) -> asyncio.Task[Any]:
        """Run a coroutine of the scenario in a process."""
        task = self.loop.start(process, work, name)
        self.main_tasks.add(task)
        return task

    def crash_at(self, process: Process, delay: float) -> None:
        """Let a process crash between any two steps of its code that are due then."""

        def crash(hops: int) -> None:
            if hops:
                self.loop.call_soon(crash, hops - 1)
            elif process.alive:
                self.loop.crash(process)

        self.loop.add_event(delay, crash, self.dice.randint(0, 12))

    def stop_at(self, process: Process, delay: float, seconds: float) -> None:
        """Let a process stand still for some time."""
        self.loop.add_event(delay, self.loop.stop_process, process)
        self.loop.add_event(delay + seconds, self.loop.continue_process, process)

    def cancel_at(self, task: asyncio.Task[Any], delay: float) -> None:
        """Cancel a task at any of its steps that are due then."""

        def cancel(hops: int) -> None:
            if hops:
                self.loop.call_soon(cancel, hops - 1)
            else:
                task.cancel()

        self.loop.add_event(delay, cancel, self.dice.randint(0, 12))

    async def until_ended(self, process: Process, task: asyncio.Task[Any]) -> bool:
        """Wait until a task has ended or its process crashed; return whether it ended."""
        crash: asyncio.Future[None] = self.loop.create_future()
        process.on_crash.append(crash.cancel)
        await asyncio.wait({task, crash}, return_when=asyncio.FIRST_COMPLETED)
        return task.done()

    @contextlib.asynccontextmanager
    async def open_client(
        self, api_key: Any = "key", **options: Any
    ) -> AsyncGenerator[JunkieClient]:
        """Open a client of the current process, and check that it leaves nothing behind."""
        async with JunkieClient(api_key, base_url=URL, **options) as client:
            yield client
        process = current_process()
        assert process is not None
        await asyncio.sleep(5.0)  # what was cancelled may end
        left = [
            task for task in self.loop.living_tasks(process) if task is not asyncio.current_task()
        ]
        names = [str(task.get_coro()) for task in left if task.get_name() != process.name]
        self.check(not names, f"{process.name}: left running: {names}")

    def _check_step(self) -> None:
        if self.loop.steps > _MAX_STEPS:
            raise AssertionError(f"not done after {_MAX_STEPS} steps")
        moment = self.loop.time()
        if moment - self._moment > 0.001:
            self._moment, self._first_step = moment, self.loop.steps
        elif self.loop.steps - self._first_step > _MAX_STEPS_AT_ONCE:
            raise AssertionError(f"busy for {_MAX_STEPS_AT_ONCE} steps at {moment:.3f}")

    def _note_exception(self, _: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        shown = "".join(traceback.format_exception(error)) if error is not None else ""
        self.violations.append(f"{context['message']}: {shown}")


Scenario: TypeAlias = Callable[[World], Awaitable[None]]


@attrs.frozen
class Result:
    """What came of a run."""

    seed: int
    violations: tuple[str, ...]
    virtual_seconds: float
    steps: int


def run(scenario: Scenario, seed: int) -> Result:
    """Run a scenario in the world of a seed."""
    collects = gc.isenabled()
    gc.disable()
    gc.freeze()  # so that collecting what the run leaves takes no time
    try:
        # Of crashed processes, whose code is ended wherever it is.
        with _ignoring_unraisable():
            result = _play(scenario, seed)
            gc.collect()
        return result
    finally:
        gc.unfreeze()
        if collects:
            gc.enable()


def _play(scenario: Scenario, seed: int) -> Result:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with (
        tempfile.TemporaryDirectory(dir=memory) as folder,
        pytest.MonkeyPatch.context() as patch,
        warnings.catch_warnings(action="ignore", category=ResourceWarning),  # a loop was left
    ):
        world = World(seed, Path(folder))
        replace_disks(patch, world.loop, Random(world.dice.random()))
        patch.setattr(SimulatedTransport, "network", world.network, raising=False)
        patch.setattr(junkie_async._client, "Transport", SimulatedTransport)
        patch.setattr(logging.getLogger("junkie_async"), "disabled", True)
        begun = world.loop.time()
        try:
            world.loop.run_until_complete(scenario(world))
        except Exception as error:
            world.violations.append("".join(traceback.format_exception(error)))
        seconds = world.loop.time() - begun
        _end_world(world)
    world.violations += world.service.violations
    return Result(seed, tuple(world.violations), seconds, world.loop.steps)


def _end_world(world: World) -> None:
    """Drop what crashed processes have left: their code must not run now, either."""
    for process in world.processes:
        if process.alive:
            world.loop.crash(process)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):
        world.loop.bury()  # its clean-up code may create tasks, which never run
        world.loop.close()
    world.processes.clear()
    world.main_tasks.clear()


@contextlib.contextmanager
def _ignoring_unraisable() -> Generator[None]:
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        yield
    finally:
        sys.unraisablehook = hook
