"""`junkie keys update`, `invalidate`, `revalidate` and `reset-hwid`."""

from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Annotated, Any, TypeAlias

import attrs
import typer

from ... import (
    ActionResult,
    BatchError,
    JunkieClient,
    KeyOutcome,
    Keys,
    NotFoundError,
    OnProgress,
    UpdateFields,
    UpdateJob,
)
from .._client import run_with_client
from .._exit_codes import describe_error, get_exit_code
from .._exits import ExitCode, fail
from .._key_arguments import ManyKeys, OneKey, suggest_id
from .._key_output import make_reference_record
from .._options import ViewOptions, read_fields, spread_options
from .._progress import ignore_progress, show_progress
from .._stdout import format_key_count, print_json, print_line, to_one_line

_CONCURRENCY = 16  # the client's own default for requests in flight

MakeJob: TypeAlias = Callable[[Keys, OnProgress], UpdateJob]

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
    changed = clear.add_to(changes)
    if not changed:
        fail("nothing to change: pass an option for each field")
    _update_keys(context, [key.read_reference()], changed, "updated", view)


@spread_options
def invalidate(context: typer.Context, *, keys: ManyKeys, view: ViewOptions) -> None:
    """Revoke keys until they are revalidated."""
    changed = {"is_invalidated": True}
    _update_keys(context, keys.read_references(), changed, "invalidated", view)


@spread_options
def revalidate(context: typer.Context, *, keys: ManyKeys, view: ViewOptions) -> None:
    """Undo `invalidate`."""
    changed = {"is_invalidated": False}
    _update_keys(context, keys.read_references(), changed, "revalidated", view)


@spread_options
def reset_hwid(context: typer.Context, *, keys: ManyKeys, view: ViewOptions) -> None:
    """Unbind all devices from keys."""
    references = keys.read_references()

    def make_job(keys: Keys, on_progress: OnProgress) -> UpdateJob:
        return keys.reset_hwid_many(references, concurrency=_CONCURRENCY, on_progress=on_progress)

    _run_job(context, make_job, len(references), "unbound", view)


def _update_keys(
    context: typer.Context,
    references: list[int | str],
    changed: dict[str, Any],
    verb: str,
    view: ViewOptions,
) -> None:
    def make_job(keys: Keys, on_progress: OnProgress) -> UpdateJob:
        return keys.update_many(
            references, concurrency=_CONCURRENCY, on_progress=on_progress, **changed
        )

    _run_job(context, make_job, len(references), verb, view)


def _run_job(
    context: typer.Context, make_job: MakeJob, total: int, verb: str, view: ViewOptions
) -> None:
    """Run a job, and print what became of each key; a key that fails does not stop the others."""
    run = _JobRun(make_job, total, view)
    run_with_client(
        context,
        run.process_keys,
        describe_stop=lambda: f"stopped: {run.done:,} of {total:,} keys {verb}",
    )
    if run.done == total:
        if not view.json:
            print_line(f"{format_key_count(run.done)} {verb}")
        return
    if total > 1:
        typer.echo(f"{run.done:,} of {format_key_count(total)} {verb}", err=True)
    raise typer.Exit(ExitCode.PARTLY if run.done else run.exit_code)


@attrs.define
class _JobRun:
    """A job with one call for each key; `exit_code` is that of the first key that failed."""

    _make_job: MakeJob
    _total: int
    _view: ViewOptions
    _job: UpdateJob | None = None
    exit_code: int = 0

    @property
    def done(self) -> int:
        """Keys done so far; after Ctrl-C also those of the calls that were in flight."""
        return 0 if self._job is None else self._job.report.done

    async def process_keys(self, junkie: JunkieClient) -> None:
        """Run the job to its end, which may come before the last key."""
        progress = show_progress("Keys") if self._total > 1 else nullcontext(ignore_progress)
        # The error that ends a job is that of a key, which was printed.
        with progress as on_progress, suppress(BatchError):
            self._job = self._make_job(junkie.keys, on_progress)
            async for outcome in self._job:
                self._print_outcome(outcome)

    def _print_outcome(self, outcome: KeyOutcome) -> None:
        record = make_reference_record(outcome.key, self._view)
        [name] = record.values()
        record["status"] = outcome.status
        if outcome.error is None:
            record |= attrs.asdict(outcome.result or ActionResult())
        else:
            # The first failure is the cause; the later ones may follow from it.
            is_missing = isinstance(outcome.error, NotFoundError)
            code = ExitCode.NEGATIVE if is_missing else get_exit_code(outcome.error)
            self.exit_code = self.exit_code or code
            reason = (is_missing and suggest_id(outcome.key)) or describe_error(outcome.error)
            typer.echo(f"Error: key {name}: {to_one_line(reason)}", err=True)
            record |= {"success": False, "message": reason}
        if self._view.json:
            print_json(record)
