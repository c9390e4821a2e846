"""``python -m junkie_async`` and ``junkie``: the command line, which the extra ``cli`` brings."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line, or say which extra is missing."""
    try:
        from .cli import app
    except ModuleNotFoundError as error:
        sys.exit(f'{error}: the command line needs `pip install "junkie_async[cli]"`')
    app()


if __name__ == "__main__":
    main()
