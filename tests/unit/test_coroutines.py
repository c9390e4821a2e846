"""Jobs and pagers as coroutines, and calls where no asyncio event loop runs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import io
import re
import warnings
import weakref
from collections.abc import Awaitable, Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from junkie_async import (
    BatchError,
    ConfigurationError,
    CreateJob,
    InvalidRequestError,
    JunkieClient,
    Key,
    KeyPage,
    KeyPager,
    Keys,
    Pagination,
    ServerError,
)
from junkie_async.emulator import Emulator
from junkie_async.export import export_keys, export_values

from .job_service import Service
from .pages import as_pending


async def fetch(page: int, limit: int) -> KeyPage:
    """Return the only page of a list."""
    await asyncio.sleep(0)
    return KeyPage(keys=(Key(id=5, key_value="K5"),), pagination=Pagination(total=1))


def pager() -> KeyPager:
    """Make a pager over a list of one key."""
    return KeyPager(as_pending(fetch))


@pytest.fixture
def keys() -> Keys:
    """The operations of a client that reaches no service."""
    return JunkieClient("any", base_url="http://127.0.0.1:1").keys


@contextlib.contextmanager
def recorded_warnings() -> Generator[list[str]]:
    """Record the warnings of a block, and of the objects that it leaves behind."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
        gc.collect()
    texts += [str(warning.message) for warning in caught]


# --- tasks ----------------------------------------------------------------------------------------


async def in_a_task(work: Any) -> Any:
    """Run it with ``create_task``."""
    return await asyncio.create_task(work)


async def in_a_group(work: Any) -> Any:
    """Run it in a group of tasks."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
    return task.result()


async def from_a_thread(work: Any) -> Any:
    """Run it in this event loop, called from another thread."""
    loop = asyncio.get_running_loop()
    return await asyncio.to_thread(
        lambda: asyncio.run_coroutine_threadsafe(work, loop).result(timeout=10)
    )


async def in_another_loop(work: Any) -> Any:
    """Run it with ``asyncio.run``."""
    return await asyncio.to_thread(asyncio.run, work)


async def gathered(work: Any) -> Any:
    """Run it with ``gather``."""
    return (await asyncio.gather(work))[0]


@pytest.mark.parametrize(
    "way",
    [in_a_task, in_a_group, from_a_thread, in_another_loop, gathered],
    ids=["task", "group", "thread", "loop", "gather"],
)
async def test_a_job_and_a_list_are_taken_as_coroutines(
    way: Callable[[Any], Awaitable[Any]], service: Service
) -> None:
    """Whatever takes a coroutine takes them, and gives what ``await`` gives."""
    assert (await way(service.create_job(250))).created == 250
    page = await way(pager())
    assert [key.id for key in page.keys] == [5]


async def test_a_task_names_what_it_runs(service: Service) -> None:
    """As it names the function of any coroutine."""
    tasks = [asyncio.create_task(pager()), asyncio.create_task(service.create_job(5))]
    assert [name for task in tasks for name in re.findall(r"coro=<(.*?)>", repr(task))] == [
        "keys.list()",
        "keys.create_many()",
    ]
    await asyncio.wait(tasks)


async def test_errors_of_a_task(service: Service) -> None:
    """They are those of ``await``."""

    def fail(_: int) -> None:
        raise ServerError("down", status=503)

    service.before = fail
    with pytest.raises(BatchError):
        await asyncio.create_task(service.create_job(5))


@pytest.mark.parametrize("passes", [0, 1, 3])
async def test_a_task_can_be_cancelled(service: Service, passes: int) -> None:
    """Before its first step and later; the job ends, and no warning says that it never ran."""
    service.gate = asyncio.Event()
    with recorded_warnings() as texts:
        job = service.create_job(500)
        task = asyncio.create_task(job)
        for _ in range(passes):
            await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.01, service.gate.set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert service.concurrent == 0
        del job, task
    assert texts == []


@pytest.mark.parametrize("method", ["first", "count", "collect"])
async def test_so_can_a_task_of_a_list(method: str) -> None:
    """A method was called, so its list was used, even if the task never began."""
    assert inspect.iscoroutinefunction(getattr(KeyPager, method))
    with recorded_warnings() as texts:
        task = asyncio.create_task(getattr(pager(), method)())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert texts == []


async def test_a_cancelled_task_leaves_no_reference_cycle() -> None:
    """The frame that throws the error into the coroutine does not keep it."""

    async def hang(page: int, limit: int) -> KeyPage:
        await asyncio.Event().wait()
        return KeyPage()

    waiting = KeyPager(as_pending(hang))
    task, reference = asyncio.create_task(waiting), weakref.ref(waiting)
    await asyncio.sleep(0)
    gc.disable()
    try:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        del waiting, task
        await asyncio.sleep(0)  # asyncio's own references to the task end with its callbacks
        assert reference() is None
    finally:
        gc.enable()


async def test_a_list_can_be_used_again_and_a_job_not(service: Service) -> None:
    """Each task of a pager fetches the page anew; a job runs once, whatever runs it."""
    again = pager()
    for _ in range(2):
        assert len((await asyncio.create_task(again)).keys) == 1
    job = service.create_job(5)
    await asyncio.create_task(job)
    with pytest.raises(RuntimeError):
        await asyncio.create_task(job)
    assert service.made == 5


# --- never used -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda keys: keys.list(), "list"),
        (lambda keys: keys.list(status="used").pages(), "list"),
        (lambda keys: keys.create_many(5, provider_id=1), "create_many"),
        (lambda keys: keys.delete_many([1]), "delete_many"),
        (lambda keys: keys.delete_many(keys.list()), "delete_many"),
    ],
)
def test_one_that_was_never_used_warns(keys: Keys, call: Callable[[Keys], Any], name: str) -> None:
    """Once, and where it was dropped, as a coroutine does."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        call(keys)
        gc.collect()
    (warning,) = caught
    assert warning.category is RuntimeWarning
    assert f"keys.{name}()" in str(warning.message)
    assert "was never awaited" in str(warning.message)
    assert warning.filename == __file__


async def use_pages(pager: KeyPager) -> None:
    """Read a page."""
    async for _ in pager.pages():
        pass


async def iterate(source: Any) -> None:
    """Read it to its end."""
    async for _ in source:
        pass


async def close(source: Any) -> None:
    """Declare that it is not used."""
    source.close()


async def wait_for(source: Any) -> None:
    """Await it."""
    await source


@pytest.mark.parametrize(
    "use",
    [
        wait_for,
        iterate,
        close,
        use_pages,
        KeyPager.first,
        KeyPager.count,
        KeyPager.collect,
        lambda pager: pager.collect(0),
        lambda pager: export_keys(pager, io.StringIO(), format="csv"),
    ],
)
async def test_a_list_that_was_used_does_not_warn(use: Callable[[KeyPager], Any]) -> None:
    """Each of its uses counts."""
    with recorded_warnings() as texts:
        await use(pager())
    assert texts == []


@pytest.mark.parametrize("use", [wait_for, iterate, close])
async def test_a_job_that_was_used_does_not_warn(
    use: Callable[[CreateJob], Any], service: Service
) -> None:
    """Each of its uses counts."""
    with recorded_warnings() as texts:
        await use(service.create_job(5))
    assert texts == []


@pytest.mark.parametrize(
    "call",
    [
        lambda keys: keys.list(limit=0),
        lambda keys: keys.create_many(1, provider_id=1, concurrency=0),
        lambda keys: keys.delete_many([""]),
        lambda keys: keys.delete_many(keys.list(), concurrency=0),
        lambda keys: CreateJob(0, keys.create_batch, concurrency=1),
        lambda keys: keys.list().collect(-1),
        lambda keys: export_keys(keys.list(), "keys.xml"),
        lambda keys: export_values(keys.create_many(1, provider_id=1), b"keys"),  # type: ignore[arg-type]
    ],
)
async def test_an_error_is_enough(keys: Keys, call: Callable[[Keys], Any]) -> None:
    """Where an argument is refused, no warning follows."""
    with recorded_warnings() as texts, pytest.raises(InvalidRequestError):
        await call(keys)
    assert texts == []


async def test_a_file_that_can_not_be_written_is_enough(keys: Keys, tmp_path: Path) -> None:
    """So is the error of a file that the keys were to be written to."""
    with recorded_warnings() as texts:
        with pytest.raises(FileNotFoundError):
            await export_keys(keys.list(), tmp_path / "nowhere" / "keys.csv")
        with pytest.raises(FileNotFoundError):
            await export_values(keys.create_many(1, provider_id=1), tmp_path / "nowhere" / "keys")
    assert texts == []


# --- no event loop --------------------------------------------------------------------------------


async def iterate_pages(keys: Keys) -> None:
    """Walk over a list page by page."""
    async for _ in keys.list().pages():
        pass


WITHOUT_LOOP: dict[str, Callable[[Keys, Path], Any]] = {
    "list": lambda keys, _: keys.list(),
    "walk": lambda keys, _: iterate(keys.list()),
    "pages": lambda keys, _: iterate_pages(keys),
    "first": lambda keys, _: keys.list().first(),
    "count": lambda keys, _: keys.list().count(),
    "collect": lambda keys, _: keys.list().collect(),
    "get": lambda keys, _: keys.get(5),
    "get by digits": lambda keys, _: keys.get("5"),
    "find": lambda keys, _: keys.find("JNK"),
    "verify": lambda keys, _: keys.verify("JNK"),
    "create": lambda keys, _: keys.create(provider_id=1),
    "create_batch": lambda keys, _: keys.create_batch(provider_id=1, amount=5),
    "create_many": lambda keys, _: keys.create_many(5, provider_id=1),
    "create_many, read": lambda keys, _: iterate(keys.create_many(5, provider_id=1)),
    "create_many, ledger": lambda keys, path: keys.create_many(
        5, provider_id=1, ledger=path / "launch.db"
    ),
    "update": lambda keys, _: keys.update(5, is_premium=True),
    "delete": lambda keys, _: keys.delete(5),
    "bulk_delete": lambda keys, _: keys.bulk_delete([5]),
    "delete_many": lambda keys, _: keys.delete_many([5]),
    "delete_many of a list": lambda keys, _: keys.delete_many(keys.list()),
    "purge": lambda keys, _: keys.purge(status="used"),
    "reset_hwid": lambda keys, _: keys.reset_hwid(5),
    "folders": lambda keys, _: keys.folders(),
    "export_keys": lambda keys, path: export_keys(keys.list(), path / "keys.csv"),
    "export_values": lambda keys, path: export_values(
        keys.create_many(5, provider_id=1), path / "keys.txt"
    ),
}


@pytest.mark.parametrize("name", WITHOUT_LOOP)
def test_without_an_event_loop(keys: Keys, name: str, tmp_path: Path) -> None:
    """A call that trio or a synchronous program runs raises an error of ours, and no warning."""
    with recorded_warnings() as texts:
        coroutine = WITHOUT_LOOP[name](keys, tmp_path)
        with pytest.raises(ConfigurationError) as caught:
            coroutine.send(None)
        del coroutine
    assert caught.value.__context__ is None
    assert texts == []
    assert list(tmp_path.iterdir()) == []


def test_a_client_opens_and_closes_without_an_event_loop() -> None:
    """So that ``async with`` shows the error of the call, and not another one."""

    async def main() -> None:
        async with JunkieClient("any") as client:
            await client.keys.get(5)

    with pytest.raises(ConfigurationError):
        main().send(None)


@pytest.mark.parametrize("name", ["verify", "find"])
async def test_a_pending_call_is_a_coroutine(name: str) -> None:
    """Whatever takes a coroutine takes it; it runs once it is awaited, and not in a condition."""
    async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as junkie:
        method = getattr(junkie.keys, name)
        assert inspect.iscoroutinefunction(method)
        for spend in (asyncio.create_task, asyncio.ensure_future, asyncio.shield):
            assert not await spend(method("JNK"))
        assert not await asyncio.wait_for(method("JNK"), 5)
        before = emulator.requests
        with pytest.raises(TypeError):
            assert not method("JNK")
        task = asyncio.create_task(method("JNK"))
        assert f"keys.{name}()" in repr(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert emulator.requests == before


def test_an_optional_job_is_a_condition() -> None:
    """What is a job or None can be asked which."""
    job = JunkieClient("any", base_url="http://127.0.0.1:9").keys.delete_many([])
    assert job
    job.close()
