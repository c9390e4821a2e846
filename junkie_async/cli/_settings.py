"""The options before the command's name: where the API key and the service's address come from."""

import os
import stat
import sys
from pathlib import Path
from typing import Any

import attrs
import typer

from .. import JunkieClient
from ._exit_codes import fail


@attrs.frozen(kw_only=True)
class Settings:
    """The options before the command's name.

    Attributes:
        api_key_file: The file whose first line is the API key; None for ``$JUNKIE_API_KEY``.
        base_url: The service's address; None for ``$JUNKIE_BASE_URL`` or the public service.
    """

    api_key_file: Path | None = None
    base_url: str | None = None

    def connect(self, **options: Any) -> JunkieClient:
        """Make a client, with further arguments of `JunkieClient`."""
        if self.api_key_file is None and not os.environ.get("JUNKIE_API_KEY"):
            fail("no API key: set $JUNKIE_API_KEY or pass --api-key-file")
        api_key = None if self.api_key_file is None else _read_api_key(self.api_key_file)
        return JunkieClient(api_key, base_url=self.base_url, **options)


def get_settings(context: typer.Context) -> Settings:
    """Return the options before the command's name."""
    return context.find_object(Settings) or Settings()


def _read_api_key(path: Path) -> str:
    try:
        # Editors on Windows begin UTF-8 files with a byte order mark, which "utf-8-sig" drops.
        with path.open(encoding="utf-8-sig") as file:
            # Of the open file: another one may be at the path a moment later.
            mode = os.fstat(file.fileno()).st_mode
            api_key = file.readline().strip()
    except OSError as error:
        fail(f"--api-key-file {path}: {error.strerror or error}")
    except UnicodeDecodeError:
        fail(f"--api-key-file {path}: not a UTF-8 text file")
    if not api_key:
        fail(f"--api-key-file {path}: the first line is empty")
    # A pipe, as from `<(pass show junkie)`, has no permissions of its own.
    if sys.platform != "win32" and stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
        typer.echo(f"Warning: other users can read {path}; run `chmod 600 {path}`", err=True)
    return api_key
