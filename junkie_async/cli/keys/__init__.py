"""`junkie keys`: everything the API does with keys."""

from typing import ClassVar

import typer

from .._lazy_commands import LazyCommand, LazyGroup

__all__ = ["app"]


class _KeysGroup(LazyGroup):
    lazy_commands: ClassVar = {
        "list": LazyCommand(
            ".keys.list", "list_keys", "List all keys, or those that match the filters."
        ),
        "get": LazyCommand(".keys.get", "get", "Show one key with all its fields."),
        "find": LazyCommand(".keys.get", "find", "Find the key with this whole value."),
        "verify": LazyCommand(
            ".keys.get", "verify", "Check whether a key may be used, and if not, why."
        ),
        "count": LazyCommand(
            ".keys.list", "count", "Count all keys, or those that match the filters."
        ),
        "stats": LazyCommand(
            ".keys.stats", "stats", "Count keys by status, service, provider, folder and expiry."
        ),
        "create": LazyCommand(".keys.create", "create", "Create one key and print its value."),
        "provision": LazyCommand(
            ".keys.create", "provision", "Create exactly AMOUNT keys, as a job that can be resumed."
        ),
        "update": LazyCommand(".keys.update", "update", "Change a key."),
        "invalidate": LazyCommand(
            ".keys.update", "invalidate", "Revoke keys until they are revalidated."
        ),
        "revalidate": LazyCommand(".keys.update", "revalidate", "Undo `invalidate`."),
        "reset-hwid": LazyCommand(".keys.update", "reset_hwid", "Unbind all devices from keys."),
        "delete": LazyCommand(".keys.delete", "delete", "Delete keys by their values or IDs."),
        "purge": LazyCommand(".keys.delete", "purge", "Delete every key that matches the filters."),
        "export": LazyCommand(".export", "export", "Write keys to a CSV or JSON Lines file."),
    }


app: typer.Typer = typer.Typer(
    name="keys",
    cls=_KeysGroup,
    help="Create, list, check, change and delete keys.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
