"""``python -m tests.simulation [--seeds N] [--first SEED] [SCENARIO ...]``: run many seeds."""

from __future__ import annotations

import argparse
import sys
import time

from .scenarios import SCENARIOS
from .world import run


def main() -> int:
    """Run the seeds, and print each violation with the command that repeats it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], metavar="SCENARIO")
    parser.add_argument("--seeds", type=int, default=300, help="of each scenario")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--stop", action="store_true", help="stop at the first violation")
    options = parser.parse_args()
    failed = 0
    for name in options.scenarios or SCENARIOS:
        begun, virtual = time.perf_counter(), 0.0
        for seed in range(options.first, options.first + options.seeds):
            result = run(SCENARIOS[name], seed)
            virtual += result.virtual_seconds
            if result.violations:
                failed += 1
                print(f"python -m tests.simulation {name} --first {seed} --seeds 1")
                print("  " + "\n  ".join(result.violations), flush=True)
                if options.stop:
                    return 1
        seconds = time.perf_counter() - begun
        print(f"{name}: {options.seeds} seeds, {seconds:.1f} s, {virtual:,.0f} virtual seconds")
    print(f"{failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
