"""The scenarios by their names."""

from __future__ import annotations

from typing import Final

from .durable_jobs import run_durable_job
from .orders import run_orders
from .walks import run_walk, run_walk_over_lies
from .world import Scenario

SCENARIOS: Final[dict[str, Scenario]] = {
    "durable-job": run_durable_job,
    "orders": run_orders,
    "walk": run_walk,
    "walk-over-lies": run_walk_over_lies,
}
