"""The client against what else its users could use, in one run on one server.

    pip install ".[emulator]"
    python benchmarks/peers.py [--quick] [--rounds N] [--without-generated] [--only NAME]
                               [--json FILE] [--svg FILE]

Beside the SDK: loops over aiohttp and httpx by hand, and the clients that openapi-python-client and
openapi-generator generate from the bundled contract, now, in temporary virtual environments (for
that it needs an index of packages, and Java; what can't be had is left out). Each client is a
process of its own, the server is another one with canned answers. Every round runs each client
once, in another order. Figures are medians with their spread; a ratio is the median of the rounds'.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import _bench
from _peers import chart, environments, results, rounds, server
from _peers.environments import Environment, UnavailableError

ROUNDS = 9
QUICK_ROUNDS = 2
IMPORT_ROUNDS = 15


def main() -> int:
    """Measure, print, and say by the exit code whether all limits are kept.

    A quick run is too small to judge by: it only says whether all clients did their jobs.
    """
    options = _options().parse_args()
    count = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    wanted = [s for s in rounds.scenarios(quick=options.quick) if _is_wanted(options, s.name)]
    with _folder(options.environments) as folder, server.running() as address:
        clients = _clients(folder, generated=not options.without_generated)
        samples = rounds.time_all(clients, wanted, address, count, rounds.say)
        if _is_wanted(options, "memory"):
            few = max(1, count // 3)
            samples |= rounds.peaks(
                clients, address, rounds=few, quick=options.quick, say=rounds.say
            )
        if _is_wanted(options, "import"):
            often = count if options.quick else IMPORT_ROUNDS
            samples |= rounds.imports(_to_import(clients), often, rounds.say)
        versions = {name: found.versions() for name, found in clients.items()}
    figures = results.figures(samples)
    document = {
        "machine": results.machine(),
        "rounds": count,
        "clients": {results.NAMES[name]: found for name, found in versions.items()},
        "limits": [asdict(figure) | {"passed": figure.passed} for figure in figures],
        "results": results.summary(samples),
    }
    print(results.aligned(results.table(samples, wanted)), end="\n\n")
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    if options.svg:
        options.svg.write_text(chart.draw(samples, results.machine(), versions), "utf-8")
    missed = _bench.report("limits", figures, None)
    return 0 if options.quick else missed


def _options() -> ArgumentParser:
    parser = _bench.arguments(__doc__)
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the results into FILE")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"how many, {ROUNDS} by default")
    parser.add_argument(
        "--without-generated", action="store_true", help="leave the generated clients out"
    )
    parser.add_argument(
        "--environments", type=Path, metavar="DIR", help="keep the peers' environments in DIR"
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=[s.name for s in rounds.scenarios(quick=True)] + ["memory", "import"],
        help="measure only this: %(choices)s; may be repeated",
    )
    return parser


def _is_wanted(options: Namespace, name: str) -> bool:
    return options.only is None or name in options.only


@contextlib.contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
    else:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            yield Path(folder)


def _clients(folder: Path, *, generated: bool) -> dict[str, Environment]:
    """Prepare all clients that can be had here, ours first."""
    found = {"ours": environments.ours()}
    found |= dict.fromkeys(("bytes", "semaphore", "serial", "session"), environments.bare())
    peers: dict[str, Callable[[Path], Environment]] = {"httpx": environments.with_httpx}
    if generated:
        peers |= {"opc": environments.with_opc, "ogc": environments.with_ogc}
    for name, prepare in peers.items():
        rounds.say(f"Preparing {results.NAMES[name]}")
        try:
            found[name] = prepare(folder)
        except UnavailableError as error:
            rounds.say(f"Left out: {results.NAMES[name]}: {error}")
    return found


def _to_import(clients: dict[str, Environment]) -> dict[str, Environment]:
    """Leave out the loops that import the same as another one."""
    alike = ("bytes", "semaphore", "session")
    return {name: found for name, found in clients.items() if name not in alike}


if __name__ == "__main__":
    sys.exit(main())
