"""The time of an import of the client against ``python -c "import aiohttp"``.

``import junkie_async`` alone loads next to nothing: the first name that is used loads all. So what
is timed is ``from junkie_async import JunkieClient``.

    pip install .
    python benchmarks/startup.py [--quick] [--json FILE]

Whole processes, in turn. Also checks that the import loads neither the extras' libraries nor
cattrs, which few responses need.
"""

from __future__ import annotations

import subprocess
import sys
import time

import _bench

MAX_TIME_RATIO = 1.35
MAX_UNWANTED = 0
UNWANTED = ("cattrs", "difflib", "html", "jsonschema_rs", "junkie_async.emulator", "rich", "typer")
ROUNDS = 31
_IMPORT = "from junkie_async import JunkieClient"


def python(code: str) -> float:
    """Time a process that runs some code."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begin


def unwanted() -> _bench.Figure:
    """Count the modules that the import should not load."""
    code = f"import sys; {_IMPORT}; print(*sys.modules.keys() & set({UNWANTED!r}))"
    command = [sys.executable, "-c", code]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    return _bench.Figure(
        name="modules that should not be loaded",
        ours=", ".join(sorted(found)) or "none",
        other=", ".join(UNWANTED),
        value=len(found),
        limit=MAX_UNWANTED,
        unit="",
        samples={},
    )


def main() -> int:
    """Measure and print; return 1 if a limit is exceeded."""
    options = _bench.arguments(__doc__).parse_args()
    imports = [
        lambda: python(_IMPORT),
        lambda: python("import aiohttp"),
    ]
    _bench.alternate(1, *imports)  # the first run compiles the modules
    samples = _bench.alternate(5 if options.quick else ROUNDS, *imports)
    figure = _bench.ratio("whole process", *samples, MAX_TIME_RATIO, scale=1000, unit="ms")
    return _bench.report("startup", [figure, unwanted()], options.json)


if __name__ == "__main__":
    sys.exit(main())
