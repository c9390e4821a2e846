"""The client against its alternatives, in one run on one server.

    pip install ".[emulator]"
    python benchmarks/peers.py [--quick] [--rounds N] [--without-generated] [--only NAME]
                               [--json FILE] [--svg FILE] [--redraw FILE]

The alternatives are hand-written loops over aiohttp, httpx and httpx2, and the clients
that openapi-python-client and openapi-generator generate from the bundled contract, in temporary
virtual environments. That needs a package index, and Java; unavailable clients are skipped. Each
client has its own process; the server is another process with canned responses. What a call costs
is counted in instructions, by valgrind: the same on every machine. With a latency it is timed:
every round runs each client once, in a different order, and a ratio is the median of the rounds'.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import _bench
from _peers import chart, environments, results, rounds, server
from _peers.environments import Environment, UnavailableError

ROUNDS = 9
QUICK_ROUNDS = 2
IMPORT_ROUNDS = 15


def main() -> int:
    """Measure and print; return 1 if a limit is exceeded.

    A quick run is too small for the limits: it only checks that all clients work.
    """
    options = _make_parser().parse_args()
    if options.redraw:
        options.svg.write_text(chart.draw(json.loads(options.redraw.read_text("utf-8"))), "utf-8")
        return 0
    count = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    wanted = [s for s in rounds.scenarios(quick=options.quick) if _is_selected(options, s.name)]
    with _open_folder(options.environments) as folder, server.running() as address:
        clients = _prepare_clients(folder, generated=not options.without_generated)
        samples = rounds.count_all(clients, wanted, address, rounds.say)
        samples |= rounds.time_all(clients, wanted, address, count, rounds.say)
        if _is_selected(options, "memory"):
            memory_rounds = max(1, count // 3)
            samples |= rounds.peaks(
                clients, address, rounds=memory_rounds, quick=options.quick, say=rounds.say
            )
        if _is_selected(options, "import"):
            import_rounds = count if options.quick else IMPORT_ROUNDS
            samples |= rounds.imports(_to_import(clients), import_rounds, rounds.say)
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
        options.svg.write_text(chart.draw(document), "utf-8")
    status = _bench.report("limits", figures, None)
    return 0 if options.quick else status


def _make_parser() -> ArgumentParser:
    parser = _bench.arguments(__doc__)
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the results into FILE")
    parser.add_argument(
        "--redraw", type=Path, metavar="FILE", help="draw an earlier --json FILE, measure nothing"
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help=f"the number of rounds, by default {ROUNDS}"
    )
    parser.add_argument(
        "--without-generated", action="store_true", help="skip the generated clients"
    )
    parser.add_argument(
        "--environments", type=Path, metavar="DIR", help="keep the peers' environments in DIR"
    )
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=[s.name for s in rounds.scenarios(quick=True)] + ["memory", "import"],
        help="measure only this: %(choices)s; repeatable",
    )
    return parser


def _is_selected(options: Namespace, name: str) -> bool:
    return options.only is None or name in options.only


@contextlib.contextmanager
def _open_folder(given: Path | None) -> Iterator[Path]:
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.resolve()
    else:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            yield Path(folder)


def _prepare_clients(folder: Path, *, generated: bool) -> dict[str, Environment]:
    """Prepare all clients that are available here, ours first."""
    found = {"ours": environments.ours()}
    found |= dict.fromkeys(("bytes", "semaphore", "serial", "session"), environments.bare())
    peers: dict[str, Callable[[Path], Environment]] = {
        library: partial(environments.with_library, library) for library in ("httpx", "httpx2")
    }
    if generated:
        peers |= {"opc": environments.with_opc, "ogc": environments.with_ogc}
    for name, prepare in peers.items():
        rounds.say(f"Preparing {results.NAMES[name]}")
        try:
            found[name] = prepare(folder)
        except UnavailableError as error:
            rounds.say(f"Skipped: {results.NAMES[name]}: {error}")
    return found


def _to_import(clients: dict[str, Environment]) -> dict[str, Environment]:
    """Skip the loops that import the same module as another one."""
    alike = ("bytes", "semaphore", "session")
    return {name: found for name, found in clients.items() if name not in alike}


if __name__ == "__main__":
    sys.exit(main())
