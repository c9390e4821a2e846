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


def pytest_collection_finish() -> None:
    """Hide from the garbage collector what lives as long as the tests: 12,000 items and modules.

    Many tests collect garbage, and each collection would look at all of that.
    """
    gc.collect()
    gc.freeze()
