"""The processes that jobs are run, and killed, in."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .job import Forks


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--durability-runs``, which pytest knows when it is given this folder by name."""
    parser.addoption("--durability-runs", type=int, help="how often jobs are killed, 20 by default")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Number the runs: by the option, or by ``$JUNKIE_DURABILITY_RUNS``."""
    if "run" in metafunc.fixturenames:
        given = metafunc.config.getoption("--durability-runs", None)
        runs = given or int(os.environ.get("JUNKIE_DURABILITY_RUNS", "20"))
        metafunc.parametrize("run", range(runs))


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    """A process that forks children."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    with Forks() as forks:
        yield forks
