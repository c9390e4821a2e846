"""Virtual environments of the peers' own, with clients generated from the contract at run time.

Each peer has its own requirements, so that none decides on another's versions, or on ours. A peer
that can't be had here (no Java, no index) is left out, and what was wrong is said.
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
"""The packages that are generated."""

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
        statement: What imports the client, to be timed.
        packages: Distributions whose versions go with its figures.
        notes: What else does.
    """

    python: Path
    statement: str
    packages: tuple[str, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)

    def versions(self) -> dict[str, str]:
        """Look up the versions that its figures are about."""
        command: _Command = [self.python, "-c", _VERSIONS, *self.packages]
        found: dict[str, str] = json.loads(_output(command))
        return found | self.notes


class UnavailableError(Exception):
    """A peer can't be had on this machine."""


def child_environment() -> dict[str, str]:
    """Give the variables of a client's process: no proxy, which some clients would go through."""
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    paths = [str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}


def ours() -> Environment:
    """Give the environment that this runs in, which has the SDK."""
    packages = ("junkie_async", "aiohttp", "attrs", "msgspec")
    return Environment(Path(sys.executable), "import junkie_async", packages)


def bare() -> Environment:
    """Give the environment that this runs in, for aiohttp alone."""
    return Environment(Path(sys.executable), "import aiohttp", ("aiohttp",))


def with_httpx(folder: Path) -> Environment:
    """Make one for httpx by hand."""
    return Environment(_made(folder / "httpx", "httpx"), "import httpx", ("httpx",))


def with_opc(folder: Path) -> Environment:
    """Make one for the client that openapi-python-client generates."""
    tool = _made(folder / "opc-generator", "openapi-python-client")
    package, settings = folder / OPC, folder / "opc.json"
    names = {
        "project_name_override": OPC,
        "package_name_override": OPC,
    }
    settings.write_text(json.dumps(names), "utf-8")
    options: _Command = ["--path", CONTRACT, "--config", settings, "--output-path", package]
    _run([_beside(tool, "openapi-python-client"), "generate", "--overwrite", *options], tool)
    generator = "openapi-python-client"
    return Environment(
        _made(folder / "opc", package),
        # Importing the package alone brings no operation.
        f"from {OPC} import AuthenticatedClient, models\nfrom {OPC}.api.keys import list_keys",
        ("httpx", "attrs"),
        {generator: _version(tool, generator)},
    )


def with_ogc(folder: Path) -> Environment:
    """Make one for the client that openapi-generator's ``python`` generates for asyncio.

    The generator comes from PyPI. Its npm package is a wrapper that fetches the same program from
    Maven Central when it is first run: one more index to depend on.
    """
    if shutil.which("java") is None:
        raise UnavailableError("openapi-generator needs Java, and there is none on the path")
    tool = _made(folder / "ogc-generator", "openapi-generator-cli")
    package = folder / OGC
    options: _Command = ["--library", "asyncio", "--package-name", OGC, "--output", package]
    command: _Command = [
        _beside(tool, "openapi-generator-cli"),
        "generate",
        "-g",
        "python",
        "-i",
        CONTRACT,
    ]
    _run([*command, *options], tool)
    generator = "openapi-generator-cli"
    return Environment(
        _made(folder / "ogc", package),
        f"import {OGC}; {OGC}.KeysApi",
        ("aiohttp", "pydantic"),
        {generator: _version(tool, generator)},
    )


def _made(folder: Path, requirement: str | Path) -> Path:
    """Make a virtual environment with a requirement, unless it is there; give its interpreter."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    done = folder / "installed"
    if not done.exists():
        venv.create(folder, with_pip=True, symlinks=os.name != "nt")
        _run([python, "-m", "pip", "install", "--quiet", requirement], python)
        done.touch()
    return python


def _beside(python: Path, name: str) -> Path:
    return python.with_name(name)


def _version(python: Path, package: str) -> str:
    return str(json.loads(_output([python, "-c", _VERSIONS, package]))[package])


def _run(command: _Command, python: Path) -> None:
    """Run a command with an environment's own programs first on the path.

    Raises:
        UnavailableError: It failed.
    """
    path = os.pathsep.join([str(python.parent), os.environ.get("PATH", "")])
    variables = os.environ | {"PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, env=variables, timeout=TIMEOUT
        )
    except subprocess.CalledProcessError as error:
        said = (error.stderr or error.stdout).strip().splitlines() or ["no message"]
        raise UnavailableError(f"{Path(command[0]).name}: {said[-1]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"{Path(command[0]).name}: {type(error).__name__}") from error


def _output(command: _Command) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
