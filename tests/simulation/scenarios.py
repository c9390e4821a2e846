"""The scenarios by their names."""

from __future__ import annotations

from typing import Final

from .deadlines import run_deadlines
from .durable_jobs import run_durable_job
from .leased_jobs import run_leased_job
from .look_ups import run_look_ups
from .memory_jobs import run_memory_job
from .orders import run_orders
from .shared_throttles import run_shared_throttle
from .throttles import run_throttle
from .walks import run_walk, run_walk_over_lies
from .world import Scenario

SCENARIOS: Final[dict[str, Scenario]] = {
    "deadlines": run_deadlines,
    "durable-job": run_durable_job,
    "leased-job": run_leased_job,
    "look-ups": run_look_ups,
    "memory-jobs": run_memory_job,
    "orders": run_orders,
    "shared-throttle": run_shared_throttle,
    "throttle": run_throttle,
    "walk": run_walk,
    "walk-over-lies": run_walk_over_lies,
}
