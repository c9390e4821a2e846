"""Many jobs in one ledger, run by several processes at the same time."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final

import pytest

from junkie_async import (
    ConfigurationError,
    InvalidRequestError,
    JunkieClient,
    provisioning,
)

from .server import PROVIDER, RECONCILE_AFTER, Service

_PROGRAM: Final = """
import asyncio, sys
from junkie_async import BatchError, DriftError, JunkieClient

url, ledger, amount, after, *jobs = sys.argv[1:]

async def run(client, job):
    while True:
        try:
            return await client.keys.create_many(
                int(amount), provider_id=7, ledger=ledger, job=job, reconcile_after=float(after)
            )
        except BatchError as error:  # others change keys during each walk
            if not isinstance(error.__cause__, DriftError):
                raise

async def main():
    async with JunkieClient("jk_test", base_url=url) as client:
        reports = await asyncio.gather(*(run(client, job) for job in jobs))
    print(*(f"{job}:{key}" for job, report in zip(jobs, reports) for key in report.keys))

asyncio.run(main())
"""


async def _run_program(url: str, path: Path, amount: int, *jobs: str) -> list[str]:
    """Run jobs in a process of their own; return their keys, each behind its job's name."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PROGRAM, url, str(path), str(amount), str(RECONCILE_AFTER), *jobs),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(program.communicate(), 60)
    assert program.returncode == 0
    return out.decode().split()


async def test_processes_fill_different_jobs_of_one_ledger(
    service: Service, tmp_path: Path
) -> None:
    """Each job has exactly its keys, though the service loses responses, or is late."""
    path = tmp_path / "orders.db"
    service.script.extend(["no response", "late", "fewer", "healthy"] * 3)
    names = [[f"job-{process}-{number}" for number in range(3)] for process in range(4)]
    outputs = await asyncio.gather(*(_run_program(service.url, path, 250, *jobs) for jobs in names))
    pairs = [pair.split(":") for output in outputs for pair in output]
    values = [value for _, value in pairs]
    assert sorted(values) == sorted(service.values())
    assert len({*values}) == 250 * 12
    jobs = [job for job, _ in pairs]
    assert {jobs.count(name) for process in names for name in process} == {250}
    assert {status.name for status in provisioning.statuses(path)} == {*jobs}
    assert all(status.done for status in provisioning.statuses(path))


async def test_a_job_of_another_process_is_refused(
    service: Service, client: JunkieClient, tmp_path: Path
) -> None:
    """A job has one writer; another job of the same ledger does not wait for it."""
    path = tmp_path / "orders.db"
    running = client.keys.create_many(
        300, provider_id=PROVIDER, ledger=path, job="a", concurrency=1
    )
    async with aclosing(aiter(running)) as batches:
        await anext(batches)
        with pytest.raises(ConfigurationError):
            await client.keys.create_many(300, provider_id=PROVIDER, ledger=path, job="a")
        other = await client.keys.create_many(100, provider_id=PROVIDER, ledger=path, job="b")
    again = await client.keys.create_many(300, provider_id=PROVIDER, ledger=path, job="a")
    assert {*again.keys, *other.keys} == {*service.values()}
    assert (again.created, other.created) == (300, 100)


async def test_a_batch_that_is_ordered_several_times_is_made_once(
    service: Service, client: JunkieClient, tmp_path: Path
) -> None:
    """The calls wait for each other, and report the same keys."""
    async with JunkieClient("jk_test", base_url=service.url) as other:
        reports = await asyncio.gather(
            *(
                one.keys.create_many(
                    5, provider_id=PROVIDER, ledger=tmp_path / "a.db", idempotency_key="order"
                )
                for one in (client, other) * 4
            )
        )
    assert {report.keys for report in reports} == {tuple(service.values())}
    assert len(service.values()) == 5


async def test_a_job_and_an_order_of_one_name_differ_in_their_arguments(
    client: JunkieClient, tmp_path: Path
) -> None:
    """One name is one request: another one names the argument that differs."""
    path = tmp_path / "a.db"
    await client.keys.create_many(5, provider_id=PROVIDER, ledger=path, idempotency_key="order")
    with pytest.raises(InvalidRequestError) as caught:
        await client.keys.create_many(6, provider_id=PROVIDER, ledger=path, idempotency_key="order")
    assert (caught.value.field, caught.value.value) == ("amount", "6")


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"job": "a"}, "ledger"),
        ({"idempotency_key": "a"}, "ledger"),
        ({"job": "a", "idempotency_key": "b", "ledger": "a.db"}, "job"),
        ({"job": "", "ledger": "a.db"}, "job"),
        ({"idempotency_key": "x" * 256, "ledger": "a.db"}, "idempotency_key"),
    ],
)
async def test_what_can_not_name_a_job(
    given: dict[str, Any], field: str, client: JunkieClient
) -> None:
    """It is refused at the call, before anything is opened."""
    with pytest.raises(InvalidRequestError) as caught:
        client.keys.create_many(5, provider_id=PROVIDER, **given)
    assert caught.value.field == field
    assert not os.path.exists("a.db")  # noqa: ASYNC240, PTH110 - it takes no time


async def test_done_jobs_are_pruned(client: JunkieClient, tmp_path: Path) -> None:
    """A job that is not done, and one that is too new, are kept."""
    path = tmp_path / "orders.db"
    for job in ("a", "b"):
        await client.keys.create_many(5, provider_id=PROVIDER, ledger=path, job=job)
    running = client.keys.create_many(
        300, provider_id=PROVIDER, ledger=path, job="c", concurrency=1
    )
    async with aclosing(aiter(running)) as batches:
        await anext(batches)
    assert provisioning.prune(path, 3600) == 0
    await asyncio.sleep(0.01)
    assert provisioning.prune(path, 0.001) == 2
    assert [status.name for status in provisioning.statuses(path)] == ["c"]
    await client.keys.create_many(300, provider_id=PROVIDER, ledger=path, job="c")
    assert provisioning.status(path, "c").done
    with pytest.raises(ConfigurationError):
        provisioning.status(path, "a")
