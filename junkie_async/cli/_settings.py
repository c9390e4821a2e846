"""The options before a command's name. Loads no SDK."""

import os
import stat
import sys
from pathlib import Path
from typing import Annotated

import attrs
import typer

from ._exits import fail


@attrs.frozen(kw_only=True)
class Settings:
    """The options before the command's name."""

    api_key_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="File whose first line is the API key.  [default: $JUNKIE_API_KEY]"
        ),
    ] = None
    base_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Address of the service.  [default: $JUNKIE_BASE_URL, or the public service]",
        ),
    ] = None
    proxy: Annotated[
        str | None,
        typer.Option(
            envvar="JUNKIE_PROXY",
            metavar="URL",
            help="HTTP proxy to reach the service through. Keep a password out of the command line:"
            " use the variable.  [default: $HTTPS_PROXY, unless $NO_PROXY names the service]",
        ),
    ] = attrs.field(default=None, repr=False)
    ca_file: Annotated[
        Path | None,
        typer.Option(
            envvar="JUNKIE_CA_FILE",
            metavar="PATH",
            help="File with the CAs to trust (PEM), in place of the system's."
            "  [default: $SSL_CERT_FILE]",
        ),
    ] = None
    outage: Annotated[
        float,
        typer.Option(
            envvar="JUNKIE_OUTAGE",
            metavar="SECONDS",
            min=0,
            help="How long to wait for a service that can't be reached or fails; 0 gives up soon.",
        ),
    ] = 600.0
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Write a line for each request to stderr.")
    ] = False

    def mask_proxy(self, argument: str) -> str:
        """Replace the proxy's user and password in an argument of the command line."""
        credentials, at, _ = (self.proxy or "").rpartition("@")
        secret = credentials.rpartition("://")[2]
        return argument.replace(f"{secret}@", "***@") if at else argument

    def find_api_key(self) -> str:
        """Return the API key."""
        if self.api_key_file is not None:
            return _read_api_key(self.api_key_file)
        api_key = os.environ.get("JUNKIE_API_KEY")
        if not api_key:
            fail("no API key: set $JUNKIE_API_KEY or pass --api-key-file")
        return api_key

    @property
    def api_key_source(self) -> str:
        """Where the API key comes from."""
        path = self.api_key_file
        return "$JUNKIE_API_KEY" if path is None else f"--api-key-file {path}"

    @property
    def base_url_source(self) -> str:
        """Where the service's address comes from."""
        if self.base_url is not None:
            return "--base-url"
        return "$JUNKIE_BASE_URL" if os.environ.get("JUNKIE_BASE_URL") else "the public service"


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
