"""Options of the whole suite."""

from __future__ import annotations

import gc
import os

import pytest

from .postgres_server import (  # noqa: F401
    postgres_database,
    postgres_server,
    postgres_superuser,
    session_postgres_server,
)


@pytest.hookimpl(optionalhook=True)  # pytest-xdist may not be installed
def pytest_xdist_auto_num_workers() -> int | None:
    """Let ``-n auto`` start two workers more than there are cores.

    A third of the suite's time is waiting: for sockets, processes and the ends of time-outs.
    """
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # xdist's own hook reads it
    cores = (
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    )
    return len(cores) + 2


@pytest.fixture(scope="module", autouse=True)
def _small_heap() -> None:
    """Let the collections of a module's tests look at its own objects only.

    Many tests collect garbage. What a run of all tests holds, 12,000 items and their modules, would
    make that most of the time that they take.
    """
    gc.collect()
    gc.freeze()
