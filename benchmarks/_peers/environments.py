"""A virtual environment per peer, with clients generated from the contract at run time.

Each peer has its own environment, so that its requirements don't affect the versions of another, or
ours. A peer that is unavailable (no Java, no package index) is skipped with the reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

OPC, OGC = "peer_opc", "peer_ogc"
"""The generated packages."""

HERE = Path(__file__).parent.parent
CONTRACT = HERE.parent / "junkie_async" / "emulator" / "openapi.json"
TIMEOUT = 600  # seconds for an installation or a generator
_Command: TypeAlias = list[str | Path]
_VERSIONS = """
import importlib.metadata as metadata, json, sys
found = {name: metadata.version(name) for name in sys.argv[1:]}
print(json.dumps(found))
"""


@dataclass(frozen=True)
class Environment:
    """Where a client runs.

    Attributes:
        python: The interpreter.
        statement: The import of the client, which is timed.
        packages: Distributions whose versions are reported.
        notes: Further versions to report.
    """

    python: Path
    statement: str
    packages: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)

    def versions(self) -> dict[str, str]:
        """Return the versions to report."""
        command: _Command = [self.python, "-c", _VERSIONS, *self.packages]
        found: dict[str, str] = json.loads(_read_output(command))
        return found | self.notes


class UnavailableError(Exception):
    """A peer is not available on this machine."""


def child_environment() -> dict[str, str]:
    """Return the variables of a client's process, without proxies, which some clients would use."""
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}


def ours() -> Environment:
    """Return the current environment, which has the SDK."""
    packages = ("junkie_async", "aiohttp", "attrs", "msgspec")
    return Environment(Path(sys.executable), "import junkie_async", packages)


def bare() -> Environment:
    """Return the current environment, for aiohttp alone."""
    return Environment(Path(sys.executable), "import aiohttp", ("aiohttp",))


def with_library(library: str, folder: Path) -> Environment:
    """Create an environment for hand-written loops over a library."""
    return Environment(_create_venv(folder / library, library), f"import {library}", (library,))


def with_opc(folder: Path) -> Environment:
    """Create an environment for the client that openapi-python-client generates."""
    tool = _create_venv(folder / "opc-generator", "openapi-python-client")
    package, settings = folder / OPC, folder / "opc.json"
    names = {
        "project_name_override": OPC,
        "package_name_override": OPC,
    }
    settings.write_text(json.dumps(names), "utf-8")
    options: _Command = ["--path", CONTRACT, "--config", settings, "--output-path", package]
    _run_command(
        [_program_beside(tool, "openapi-python-client"), "generate", "--overwrite", *options], tool
    )
    generator = "openapi-python-client"
    return Environment(
        _create_venv(folder / "opc", package),
        # Importing the package alone loads no operation.
        f"from {OPC} import AuthenticatedClient, models\nfrom {OPC}.api.keys import list_keys",
        ("httpx", "attrs"),
        {generator: _read_version(tool, generator)},
    )


def with_ogc(folder: Path) -> Environment:
    """Create an environment for openapi-generator's ``python`` client with the asyncio library.

    The generator comes from PyPI. Its npm package would be one more index to depend on: it fetches
    the same program from Maven Central at its first run.
    """
    if shutil.which("java") is None:
        raise UnavailableError("openapi-generator needs Java, which is not on PATH")
    tool = _create_venv(folder / "ogc-generator", "openapi-generator-cli")
    package = folder / OGC
    options: _Command = ["--library", "asyncio", "--package-name", OGC, "--output", package]
    command: _Command = [
        _program_beside(tool, "openapi-generator-cli"),
        "generate",
        "-g",
        "python",
        "-i",
        CONTRACT,
    ]
    _run_command([*command, *options], tool)
    generator = "openapi-generator-cli"
    return Environment(
        _create_venv(folder / "ogc", package),
        f"import {OGC}; {OGC}.KeysApi",
        ("aiohttp", "pydantic"),
        {generator: _read_version(tool, generator)},
    )


def _create_venv(folder: Path, requirement: str | Path) -> Path:
    """Create a virtual environment with a requirement if missing; return its interpreter."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    done = folder / "installed"
    if not done.exists():
        venv.create(folder, with_pip=True, symlinks=os.name != "nt")
        _run_command([python, "-m", "pip", "install", "--quiet", requirement], python)
        done.touch()
    return python


def _program_beside(python: Path, name: str) -> Path:
    return python.with_name(name)


def _read_version(python: Path, package: str) -> str:
    return str(json.loads(_read_output([python, "-c", _VERSIONS, package]))[package])


def _run_command(command: _Command, python: Path) -> None:
    """Run a command with an environment's programs first on PATH.

    Raises:
        UnavailableError: The command failed.
    """
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
    variables = os.environ | {"PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, env=variables, timeout=TIMEOUT
        )
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout).strip().splitlines() or ["no message"]
        raise UnavailableError(f"{Path(command[0]).name}: {lines[-1]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{Path(command[0]).name}: {type(error).__name__}") from error


def _read_output(command: _Command) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
