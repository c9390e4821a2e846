"""``python -m tests.simulation [--seeds N] [--first SEED] [SCENARIO ...]``: run many seeds."""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Sequence

from .scenarios import SCENARIOS
from .world import run


def main() -> int:
    """Run the seeds, and print each violation with the command that repeats it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", choices=[[], *SCENARIOS], metavar="SCENARIO")
    parser.add_argument("--seeds", type=int, default=300, help="of each scenario")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--stop", action="store_true", help="stop at the first violation")
    parser.add_argument(
        "--in-turn", action="store_true", help="let each seed play one scenario, in turn"
    )
    options = parser.parse_args()
    sys.unraisablehook = lambda _: None  # of crashed processes: their code is ended anywhere
    names = options.scenarios or [*SCENARIOS]
    seeds, failed = range(options.first, options.first + options.seeds), 0
    for number, name in enumerate(names):
        own = [seed for seed in seeds if seed % len(names) == number or not options.in_turn]
        failed += _run_seeds(name, own, stop=options.stop)
        if failed and options.stop:
            break
    print(f"{failed} failed")
    return min(failed, 1)


def _run_seeds(name: str, seeds: Sequence[int], *, stop: bool) -> int:
    begun, virtual, failed = time.process_time(), 0.0, 0
    for number, seed in enumerate(seeds):
        if number % 50 == 0:
            gc.collect()  # `run` collects nothing that was still used when it began
        result = run(SCENARIOS[name], seed)
        virtual += result.virtual_seconds
        if result.violations:
            failed += 1
            print(f"python -m tests.simulation {name} --first {seed} --seeds 1")
            print("  " + "\n  ".join(result.violations), flush=True)
            if stop:
                break
    seconds = time.process_time() - begun
    line = f"{name}: {len(seeds)} seeds, {seconds:.1f} CPU seconds, {virtual:,.0f} virtual seconds"
    print(line, flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
