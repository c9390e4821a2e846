"""`Job`: what creating and deleting have in common."""

from __future__ import annotations

import pytest

from junkie_async import CreateJob

from .job_service import Service


async def test_results_and_progress_arrive_call_by_call(service: Service) -> None:
    """``async for`` yields each batch as it is created; on_progress counts up to the amount."""
    shown: list[tuple[int, int | None]] = []
    job = CreateJob(1050, service.create, concurrency=3, on_progress=lambda *now: shown.append(now))
    keys = [key async for batch in job for key in batch.keys]
    assert sorted(keys) == sorted(job.report.keys)
    assert [total for _, total in shown] == [1050] * 11
    assert shown[-1][0] == 1050


async def test_a_failing_on_progress_stops_the_job(service: Service) -> None:
    """The callback's error reaches the caller, and the report has what was created."""

    def progress(done: int, total: int | None) -> None:
        raise KeyError(done)

    job = CreateJob(10_000, service.create, concurrency=2, on_progress=progress)
    with pytest.raises(KeyError):
        await job
    assert job.report.created == service.made
    assert len(service.calls) <= 4


async def test_a_job_runs_only_once(service: Service) -> None:
    """A second run would create the keys again."""
    job = service.create_job(10)
    await job
    with pytest.raises(RuntimeError):
        await job
    assert service.made == 10
