"""`junkie keys update`, `invalidate`, `revalidate` and `reset-hwid`."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from typing import Any, TypeAlias

import attrs
import typer

from ... import (
    ActionResult,
    BadRequestError,
    ConflictError,
    InvalidRequestError,
    JunkieClient,
    JunkieError,
    NotFoundError,
    OnProgress,
)
from .._client import run
from .._options import UpdateOptions, ViewOptions, spread
from .._output import ExitCode, counted, describe, exit_code, one_line, say
from .._progress import progress, silent
from .._references import ManyKeys, OneKey
from .._view import print_json, reference_name, reference_record

_AT_ONCE = 16
_OF_ONE_KEY = (BadRequestError, ConflictError, InvalidRequestError, NotFoundError)
"""Errors that another key need not meet."""

Act: TypeAlias = Callable[[JunkieClient, int | str], Awaitable[ActionResult]]


@spread
def update(
    context: typer.Context, *, key: OneKey, changes: UpdateOptions, view: ViewOptions
) -> None:
    """Change a key.

    What is left out stays as it is. --clear takes a field away: `--clear folder_id` takes the key
    out of its folder, and `--clear hwids` unbinds its devices.
    """
    reference, given = key.reference(), changes.given()
    _each(
        context,
        [reference],
        lambda junkie, each: junkie.keys.update(each, **given),
        "updated",
        view,
    )


@spread
def invalidate(context: typer.Context, *, keys: ManyKeys, view: ViewOptions) -> None:
    """Revoke keys, until they are revalidated."""
    _each(
        context,
        keys.references(),
        lambda junkie, key: junkie.keys.invalidate(key),
        "invalidated",
        view,
    )


@spread
def revalidate(context: typer.Context, *, keys: ManyKeys, view: ViewOptions) -> None:
    """Undo `invalidate`."""
    _each(
        context,
        keys.references(),
        lambda junkie, key: junkie.keys.revalidate(key),
        "revalidated",
        view,
    )


@spread
def reset_hwid(context: typer.Context, *, keys: ManyKeys, view: ViewOptions) -> None:
    """Unbind all devices of keys."""
    _each(
        context, keys.references(), lambda junkie, key: junkie.keys.reset_hwid(key), "unbound", view
    )


def _each(
    context: typer.Context, keys: list[int | str], act: Act, done: str, view: ViewOptions
) -> None:
    """Do the same to all keys; one that is not there does not keep the others from it."""
    errand = _Errand(keys, act, view)
    run(
        context,
        errand.run,
        stopped=lambda: f"stopped: {errand.done:,} of {len(keys):,} keys are {done}",
    )
    if not errand.failed:
        if not view.json:
            say(f"{counted(errand.done)} {done}")
        return
    if len(keys) > 1:
        typer.echo(f"{errand.done:,} of {counted(len(keys))} {done}", err=True)
    raise typer.Exit(ExitCode.PARTLY if errand.done else errand.code)


@attrs.define
class _Errand:
    """Something that is done to each of some keys, several at once."""

    _keys: list[int | str]
    _act: Act
    _view: ViewOptions
    done: int = 0
    failed: int = 0
    code: int = 0
    """The exit code of the first failure."""
    _halted: bool = False

    async def run(self, junkie: JunkieClient) -> None:
        """Do it; after an error that the other keys would meet too, no new call starts."""
        left = iter(self._keys)
        with progress("Keys") if len(self._keys) > 1 else nullcontext(silent) as on_progress:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_AT_ONCE, len(self._keys))):
                    group.create_task(self._work(junkie, left, on_progress))

    async def _work(
        self, junkie: JunkieClient, left: Iterator[int | str], on_progress: OnProgress
    ) -> None:
        for key in left:
            if self._halted:
                return
            try:
                result = await self._act(junkie, key)
            except JunkieError as error:
                self._halted |= not isinstance(error, _OF_ONE_KEY)
                self._fail(key, describe(error), exit_code(error))
            else:
                self._tell(key, result)
            on_progress(self.done + self.failed, len(self._keys))

    def _tell(self, key: int | str, result: ActionResult) -> None:
        if not result.success:
            self._fail(key, result.message or "the service said no", ExitCode.REFUSED)
            return
        self.done += 1
        if self._view.json:
            self._print(key, attrs.asdict(result))

    def _fail(self, key: int | str, reason: str, code: int) -> None:
        self.failed += 1
        self.code = self.code or code
        name = reference_name(key, show_value=self._view.show_values)
        typer.echo(f"Error: {name}: {one_line(reason)}", err=True)
        if self._view.json:
            self._print(key, {"success": False, "message": reason})

    def _print(self, key: int | str, outcome: dict[str, Any]) -> None:
        print_json(reference_record(key, show_value=self._view.show_values) | outcome)
