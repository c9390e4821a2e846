"""The pages of the API reference, `.docs/reference`: which page has which public name.

`python -m tests.readme.update` writes them. Each has a table of its names, which any forge shows,
and directives that mkdocstrings replaces by the docstrings.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import FunctionType

import attrs

import junkie_async

from .document import ROOT

FOLDER = ROOT / ".docs" / "reference"


@attrs.frozen
class Page:
    """A page of the reference.

    Attributes:
        name: Its file's name, without `.md`.
        title: Its title.
        module: The module whose names it has.
        names: Those names; none for all of the module, with the module's docstring.
    """

    name: str
    title: str
    module: str = "junkie_async"
    names: tuple[str, ...] = ()


PAGES = (
    Page(
        "client",
        "Client",
        names=("JunkieClient", "RetryPolicy", "RateLimit", "APIResponse", "__version__"),
    ),
    Page(
        "keys",
        "Operations",
        names=(
            "Keys",
            "KeyRef",
            "CreateFields",
            "BatchFields",
            "UpdateFields",
            "Filters",
            "UNSET",
            "Unset",
        ),
    ),
    Page(
        "values",
        "Values",
        names=(
            "Key",
            "KeyDetailed",
            "KeyStatus",
            "HWID",
            "DiscordRedemption",
            "KeyFolder",
            "Verdict",
            "VerdictReason",
            "KeyBatch",
            "BulkDeleteResult",
            "ActionResult",
            "UpdateResult",
            "mask_key_value",
        ),
    ),
    Page(
        "lists",
        "Lists",
        names=("KeyPager", "KeyPage", "Pagination", "Drift", "KeyStats", "KeyGroup"),
    ),
    Page(
        "jobs",
        "Jobs",
        names=(
            "CreateJob",
            "CreateReport",
            "UpdateJob",
            "ResetHWIDJob",
            "UpdateReport",
            "KeyOutcome",
            "OutcomeStatus",
            "DeleteJob",
            "DeleteReport",
            "OnProgress",
        ),
    ),
    Page(
        "errors",
        "Errors",
        names=(
            "JunkieError",
            "Outcome",
            "InvalidRequestError",
            "ConfigurationError",
            "ClientClosedError",
            "TransportError",
            "ConnectError",
            "RequestTimeoutError",
            "OutcomeUnknownError",
            "InvalidResponseError",
            "DriftError",
            "TooManyMatchesError",
            "APIError",
            "BadRequestError",
            "AuthenticationError",
            "PermissionDeniedError",
            "NotFoundError",
            "ConflictError",
            "RateLimitError",
            "ServerError",
            "BatchError",
        ),
    ),
    Page(
        "hooks",
        "Hooks and events",
        names=(
            "Hooks",
            "AttemptEvent",
            "RetryEvent",
            "PauseEvent",
            "OutageEvent",
            "SharedThrottleEvent",
            "JobEvent",
        ),
    ),
    Page("provisioning", "Provisioning", "junkie_async.provisioning"),
    Page("postgres", "Ledgers in PostgreSQL", "junkie_async.postgres"),
    Page("redis", "Shared rate limit", "junkie_async.redis"),
    Page("export", "Exports", "junkie_async.export"),
    Page("discord", "Discord", "junkie_async.ext.discord"),
    Page("discord_testing", "Tests of a Discord cog", "junkie_async.ext.discord.testing"),
    Page("fastapi", "FastAPI", "junkie_async.ext.fastapi"),
    Page("aiohttp", "aiohttp", "junkie_async.ext.aiohttp"),
    Page("problem_details", "Problem details", "junkie_async.ext.problem_details"),
    Page("logging", "Logging", "junkie_async.ext.logging"),
    Page("opentelemetry", "OpenTelemetry", "junkie_async.ext.opentelemetry"),
    Page("structlog", "structlog", "junkie_async.ext.structlog"),
    Page("emulator", "Emulator", "junkie_async.emulator"),
    Page("pytest_plugin", "pytest plugin", "junkie_async.pytest_plugin"),
)


def public_names() -> set[str]:
    """Return the public names of all modules that state theirs; the command line has a page."""
    return {f"{module}.{name}" for module in _public_modules() for name in _names_of(module)}


def documented_names() -> set[str]:
    """Return the names that the pages have."""
    return {
        f"{page.module}.{name}" for page in PAGES for name in page.names or _names_of(page.module)
    }


def render_pages() -> dict[Path, str]:
    """Return the text of each page, by its path."""
    pages = {FOLDER / f"{page.name}.md": _render_page(page) for page in PAGES}
    return pages | {FOLDER / "index.md": _render_index()}


def _public_modules() -> Iterator[str]:
    yield "junkie_async"
    for found in pkgutil.walk_packages(junkie_async.__path__, "junkie_async."):
        parts = found.name.split(".")
        is_public = not any(part.startswith("_") for part in parts) and parts[1] != "cli"
        if is_public and hasattr(importlib.import_module(found.name), "__all__"):
            yield found.name


def _names_of(module: str) -> list[str]:
    names: list[str] = importlib.import_module(module).__all__
    return names


def _render_index() -> str:
    rows = [f"| [{page.title}]({page.name}.md) | {_list_names(page)} |" for page in PAGES]
    return "\n".join(["# API reference", "", "| page | names |", "| --- | --- |", *rows, ""])


def _list_names(page: Page) -> str:
    names = ", ".join(f"`{name}`" for name in page.names or _names_of(page.module))
    return names if page.names else f"`{page.module}`: {names}"


def _render_page(page: Page) -> str:
    rows = [
        f"| `{name}` | {_summarize(page.module, name)} |"
        for name in page.names or _names_of(page.module)
    ]
    directives = [f"{page.module}.{name}" for name in page.names] or [page.module]
    head = [f"# {page.title}", "", f"Import these from `{page.module}`.", ""]
    table = ["| name | |", "| --- | --- |", *rows]
    return "\n".join([*head, *table, *(f"\n## ::: {path}" for path in directives), ""])


def _summarize(module: str, name: str) -> str:
    """Return the first paragraph of a name's docstring."""
    value = getattr(importlib.import_module(module), name)
    is_documented = isinstance(value, type | FunctionType)
    docstring = value.__doc__ if is_documented else _constant_docstrings()[name]
    return docstring.strip().split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


@cache
def _constant_docstrings() -> dict[str, str]:
    """Return the strings below the assignments of modules, by the names that are assigned."""
    found: dict[str, str] = {}
    for path in (ROOT / "junkie_async").rglob("*.py"):
        body = ast.parse(path.read_text("utf-8")).body
        for statement, below in pairwise(body):
            match statement, below:
                case (
                    ast.Assign(targets=[ast.Name(id=name)])
                    | ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(text))),
                ):
                    found[name] = text
    return found
