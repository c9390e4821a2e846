"""Entry point of ``junkie`` and ``python -m junkie_async``; it needs the extra ``cli``."""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Run the command line, or exit with the name of the missing extra."""
    try:
        importlib.import_module("rich")  # most commands need it
        from .cli import app
    except ModuleNotFoundError as error:
        sys.exit(f'{error}: the command line needs `pip install "junkie_async[cli]"`')
    app()


if __name__ == "__main__":
    main()
