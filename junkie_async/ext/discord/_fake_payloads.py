"""The JSON by which Discord tells a bot of users, servers and options, for `testing`."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

import attrs
import discord
from discord import app_commands

BOT_ID: Final = 100_000_000_000_000_001

_FIRST_ROLE_ID: Final = 400_000_000_000_000_001
_CUSTOM_STATUS: Final = 4  # a type of activity


def describe_user(user_id: int, name: str) -> dict[str, Any]:
    """Describe a user."""
    return {
        "id": str(user_id),
        "username": name,
        "global_name": None,
        "discriminator": "0",
        "avatar": None,
        "bot": user_id == BOT_ID,
    }


def describe_role(role: str | int, position: int = 1) -> dict[str, Any]:
    """Describe a role by its ID, or by its name, which always gets the same ID."""
    number = _FIRST_ROLE_ID + zlib.crc32(role.encode()) if isinstance(role, str) else role
    return {
        "id": str(number),
        "name": role if isinstance(role, str) else f"role-{role}",
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "position": position,
        "permissions": "0",
        "managed": False,
        "mentionable": False,
        "flags": 0,
    }


class FakeServers:
    """The servers that a bot knows: all that its interactions told of them."""

    def __init__(self) -> None:
        self._servers: dict[str, dict[str, dict[str, Any]]] = {}

    def merge(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Return a server as an interaction tells of it, with what earlier ones told."""
        known = self._servers.setdefault(told["id"], {})
        for member in told["members"]:
            known.get("presences", {}).pop(member["user"]["id"], None)
        for part in ("roles", "channels", "members", "presences"):
            items = known.setdefault(part, {})
            items.update({item.get("user", item)["id"]: item for item in told[part]})
        return {**told, **{part: list(items.values()) for part, items in known.items()}}


@attrs.frozen
class FakeMember:
    """A user, and what a server knows of them."""

    user_id: int
    name: str
    roles: tuple[dict[str, Any], ...] = ()
    permissions: discord.Permissions = attrs.Factory(discord.Permissions.none)
    joined_at: datetime | None = None
    premium_since: datetime | None = None
    custom_status: str | None = None
    server_tag: bool = False

    def describe_user(self) -> dict[str, Any]:
        """Describe the user."""
        return describe_user(self.user_id, self.name)

    def describe_place(self, guild_id: int | None, *channels: Mapping[str, Any]) -> dict[str, Any]:
        """Return the part of an interaction that says where it happened, and by whom."""
        if guild_id is None:
            return {"user": self.describe_user()}
        member = self._describe_member(guild_id)
        everyone = {**describe_role(guild_id, 0), "name": "@everyone"}
        guild: dict[str, Any] = {
            "id": str(guild_id),
            "name": "server",
            "roles": [everyone, *self.roles],
            "channels": channels,
            "members": [member],
            "presences": self._describe_presences(guild_id),
        }
        return {"guild_id": str(guild_id), "guild": guild, "member": member}

    def _describe_member(self, guild_id: int) -> dict[str, Any]:
        a_year_ago = datetime.now(UTC).timestamp() - 365 * 86_400
        joined = self.joined_at or datetime.fromtimestamp(a_year_ago, UTC)
        boosting = self.premium_since
        tag = {"identity_guild_id": str(guild_id), "identity_enabled": True, "tag": "TAG"}
        return {
            "user": {**self.describe_user(), "primary_guild": tag if self.server_tag else None},
            "nick": None,
            "roles": [role["id"] for role in self.roles],
            "joined_at": joined.isoformat(),
            "premium_since": boosting.isoformat() if boosting else None,
            "permissions": str(self.permissions.value),
            "flags": 0,
        }

    def _describe_presences(self, guild_id: int) -> list[dict[str, Any]]:
        if self.custom_status is None:
            return []
        activity = {"type": _CUSTOM_STATUS, "name": "Custom Status", "state": self.custom_status}
        return [
            {
                "user": {"id": str(self.user_id)},
                "guild_id": str(guild_id),
                "status": "online",
                "client_status": {"desktop": "online"},
                "activities": [activity],
            }
        ]


# --- options --------------------------------------------------------------------------------------


def describe_options(
    command: app_commands.Command[Any, ..., Any],
    options: dict[str, Any],
    resolved: dict[str, dict[str, Any]],
    guild_id: int | None,
) -> Iterable[dict[str, Any]]:
    """Yield the options of a command, and add what their IDs stand for to ``resolved``.

    Raises:
        TypeError: An option is missing, is unknown, or has the wrong type.
        ValueError: An option is outside its limits.
    """
    known = {parameter.display_name: parameter for parameter in command.parameters}
    name = command.qualified_name
    if unknown := options.keys() - known.keys():
        raise TypeError(
            f"/{name} has no option {min(unknown)!r}; it has {', '.join(known) or 'none'}"
        )
    for option, parameter in known.items():
        if option in options:
            value = _check_option(f"option {option} of /{name}", parameter, options[option])
            _resolve(parameter.type, value, resolved, guild_id)
            yield {"name": option, "type": parameter.type.value, "value": value}
        elif parameter.required:
            raise TypeError(f"/{name} needs the option {option!r}")


_TYPES: Final[Mapping[discord.AppCommandOptionType, type]] = {
    discord.AppCommandOptionType.string: str,
    discord.AppCommandOptionType.integer: int,
    discord.AppCommandOptionType.boolean: bool,
    discord.AppCommandOptionType.number: float,
}
_BY_ID: Final = (
    discord.AppCommandOptionType.user,
    discord.AppCommandOptionType.role,
    discord.AppCommandOptionType.channel,
    discord.AppCommandOptionType.mentionable,
)


def _check_option(name: str, parameter: app_commands.Parameter, value: Any) -> Any:
    """Check an option as Discord does before it sends a command, and return what it sends."""
    if isinstance(value, Enum):
        value = value.value
    if parameter.type in _BY_ID:
        return str(getattr(value, "id", value))
    kind = _TYPES.get(parameter.type)
    if kind is None:
        raise NotImplementedError(f"{name}: FakeInteraction has no options of {parameter.type}")
    if isinstance(value, int) and kind is float and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool) is not (kind is bool):
        raise TypeError(f"{name} must be {kind.__name__}, got {type(value).__name__}")
    _check_limits(name, parameter, value)
    return value


def _check_limits(name: str, parameter: app_commands.Parameter, value: Any) -> None:
    choices: Sequence[Any] = [choice.value for choice in parameter.choices]
    if choices and value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    size: float = len(value) if isinstance(value, str) else value
    low, high = parameter.min_value, parameter.max_value
    if (low is not None and size < low) or (high is not None and size > high):
        unit = " characters" if isinstance(value, str) else ""
        raise ValueError(f"{name} must be {_describe_range(low, high)}{unit}, got {size}")


def _describe_range(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return f"at least {low}" if high is None else f"at most {high}"
    return f"{low} to {high}"


def _resolve(
    kind: discord.AppCommandOptionType,
    value: str,
    resolved: dict[str, dict[str, Any]],
    guild_id: int | None,
) -> None:
    """Add what an ID stands for, as Discord does."""
    if kind is discord.AppCommandOptionType.role:
        resolved.setdefault("roles", {})[value] = describe_role(int(value))
    elif kind is discord.AppCommandOptionType.channel:
        about = {"id": value, "type": 0, "name": f"channel-{value}", "permissions": "0"}
        resolved.setdefault("channels", {})[value] = about
    elif kind in _BY_ID:
        user = FakeMember(int(value), f"user-{value}")
        resolved.setdefault("users", {})[value] = user.describe_user()
        if guild_id is not None:
            place = user.describe_place(guild_id)
            resolved.setdefault("members", {})[value] = place["member"]


# --- interactions ---------------------------------------------------------------------------------


def describe_call(
    number: int,
    member: FakeMember,
    *,
    guild_id: int | None,
    channel: dict[str, Any],
    locale: discord.Locale,
    is_user_install: bool,
    filesize_limit: int,
) -> dict[str, Any]:
    """Describe an interaction by which a command is called, but not yet the command."""
    if guild_id is None:
        place = {**channel, "type": 1, "recipients": [member.describe_user()]}
    else:
        place = {**channel, "type": 0, "position": 0}
    owner = {"1": str(member.user_id)} if is_user_install else {"0": str(guild_id or 0)}
    return {
        "id": str(number),
        "application_id": str(BOT_ID),
        "type": 2,
        "token": f"token-{number}",
        "version": 1,
        "data": {"id": str(number), "name": "", "type": 1},
        "channel": place,
        "locale": locale.value,
        "context": 0 if guild_id else 1,
        "attachment_size_limit": filesize_limit,
        "authorizing_integration_owners": owner,
        **member.describe_place(guild_id, place),
    }


def describe_command(
    number: int,
    command: app_commands.Command[Any, ..., Any],
    options: dict[str, Any],
    guild_id: int | None,
) -> dict[str, Any]:
    """Describe a command and its options: the ``data`` of an interaction."""
    resolved: dict[str, dict[str, Any]] = {}
    described = [*describe_options(command, options, resolved, guild_id)]
    data: dict[str, Any] = {"type": 1, "name": command.name, "options": described}
    parent = command.parent
    while parent is not None:
        data = {"type": 2 if parent.parent else 1, "name": parent.name, "options": [data]}
        parent = parent.parent
    return {**data, "id": str(number), "type": 1, "resolved": resolved}
