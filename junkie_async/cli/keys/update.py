"""`junkie keys update`, `invalidate`, `revalidate` and `reset-hwid`."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Annotated, Any, TypeAlias

import attrs
import typer

from ... import (
    ActionResult,
    BadRequestError,
    ConflictError,
    InvalidRequestError,
    JunkieClient,
    JunkieError,
    Keys,
    NotFoundError,
    OnProgress,
    UpdateFields,
)
from .._client import run_with_client
from .._exit_codes import ExitCode, describe_error, fail, get_exit_code
from .._key_arguments import ManyKeys, OneKey
from .._key_output import make_reference_record
from .._options import ViewOptions, read_fields, spread_options
from .._progress import ignore_progress, show_progress
from .._stdout import format_key_count, print_json, print_line, to_one_line

_CONCURRENCY = 16  # the client's own default for requests in flight
_ERRORS_OF_ONE_KEY = (BadRequestError, ConflictError, InvalidRequestError, NotFoundError)
"""After these errors the other keys are still tried; any other error would repeat for each key."""

Action: TypeAlias = Callable[[Keys, int | str], Awaitable[ActionResult]]

_CLEARABLE = sorted(
    name for name, (kinds, _) in read_fields(UpdateFields).items() if type(None) in kinds
)
_CLEARABLE.append("hwids")  # cleared by an empty list


def _parse_clearable(name: str) -> str:
    if name not in _CLEARABLE:
        raise typer.BadParameter(f"must be one of {', '.join(_CLEARABLE)}")
    return name


@attrs.frozen(kw_only=True)
class ClearOption:
    """The fields to clear."""

    clear: Annotated[
        list[str] | None,
        typer.Option(
            parser=_parse_clearable,
            metavar="FIELD",
            help=f"Field to clear: {', '.join(_CLEARABLE)}. May be given several times.",
        ),
    ] = None

    def add_to(self, changes: UpdateFields) -> dict[str, Any]:
        """Return the changes with null, or an empty list, for each cleared field."""
        cleared: dict[str, Any] = dict.fromkeys(self.clear or ())
        for name in cleared.keys() & changes.keys():
            fail(f"--{name.replace('_', '-')} and --clear {name} can't be combined")
        if "hwids" in cleared:
            cleared["hwids"] = []
        return {**changes, **cleared}


@spread_options
def update(
    context: typer.Context,
    *,
    key: OneKey,
    changes: UpdateFields,
    clear: ClearOption,
    view: ViewOptions,
) -> None:
    """Change a key.

    Fields that you leave out stay unchanged. --clear removes a value: `--clear folder_id` takes
    the key out of its folder, and `--clear hwids` unbinds its devices.
    """
    action = partial(Keys.update, **clear.add_to(changes))
    _run_action(context, [key.read_reference()], action, "updated", view)


@spread_options
def invalidate(context: typer.Context, *, keys: ManyKeys, view: ViewOptions) -> None:
    """Revoke keys until they are revalidated."""
    _run_action(context, keys.read_references(), Keys.invalidate, "invalidated", view)


@spread_options
def revalidate(context: typer.Context, *, keys: ManyKeys, view: ViewOptions) -> None:
    """Undo `invalidate`."""
    _run_action(context, keys.read_references(), Keys.revalidate, "revalidated", view)


@spread_options
def reset_hwid(context: typer.Context, *, keys: ManyKeys, view: ViewOptions) -> None:
    """Unbind all devices from keys."""
    _run_action(context, keys.read_references(), Keys.reset_hwid, "unbound", view)


def _run_action(
    context: typer.Context, keys: list[int | str], action: Action, verb: str, view: ViewOptions
) -> None:
    """Apply an action to each key; a key that fails does not stop the others."""
    run = _ActionRun(keys, action, view)
    run_with_client(
        context,
        run.process_keys,
        describe_stop=lambda: f"stopped: {run.done:,} of {len(keys):,} keys {verb}",
    )
    if not run.failed:
        if not view.json:
            print_line(f"{format_key_count(run.done)} {verb}")
        return
    if len(keys) > 1:
        typer.echo(f"{run.done:,} of {format_key_count(len(keys))} {verb}", err=True)
    raise typer.Exit(ExitCode.PARTLY if run.done else run.exit_code)


@attrs.define
class _ActionRun:
    """An action that a pool of workers applies to keys; `exit_code` is the first failure's."""

    _keys: list[int | str]
    _action: Action
    _view: ViewOptions
    done: int = 0
    failed: int = 0
    exit_code: int = 0
    _halted: bool = False

    async def process_keys(self, junkie: JunkieClient) -> None:
        """Apply the action; after an error that every key would meet, no further request starts."""
        keys = iter(self._keys)  # shared: each worker takes the next key, so none gets two
        progress = show_progress("Keys") if len(self._keys) > 1 else nullcontext(ignore_progress)
        with progress as on_progress:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(_CONCURRENCY, len(self._keys))):
                    group.create_task(self._work_off(junkie, keys, on_progress))

    async def _work_off(
        self, junkie: JunkieClient, keys: Iterator[int | str], on_progress: OnProgress
    ) -> None:
        for key in keys:
            if self._halted:
                return
            try:
                result = await self._action(junkie.keys, key)
            except JunkieError as error:
                self._halted |= not isinstance(error, _ERRORS_OF_ONE_KEY)
                self._report_failure(key, describe_error(error), get_exit_code(error))
            else:
                self._report_result(key, result)
            on_progress(self.done + self.failed, len(self._keys))

    def _report_result(self, key: int | str, result: ActionResult) -> None:
        if result.success:
            self.done += 1
            self._print_record(key, attrs.asdict(result))
        else:
            reason = result.message or "refused by the service without a reason"
            self._report_failure(key, reason, ExitCode.REFUSED)

    def _report_failure(self, key: int | str, reason: str, exit_code: int) -> None:
        self.failed += 1
        # The first failure is the cause; the later ones may follow from it.
        self.exit_code = self.exit_code or exit_code
        [name] = make_reference_record(key, self._view).values()
        typer.echo(f"Error: key {name}: {to_one_line(reason)}", err=True)
        self._print_record(key, {"success": False, "message": reason})

    def _print_record(self, key: int | str, outcome: dict[str, Any]) -> None:
        if self._view.json:
            print_json(make_reference_record(key, self._view) | outcome)
