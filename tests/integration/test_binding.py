"""The example in the docstring of `verify`: a device is bound in two calls, which have a race."""

from __future__ import annotations

import asyncio
import inspect
import re
import textwrap
from collections.abc import Awaitable, Callable

import pytest

from junkie_async import JunkieClient, Key, Keys, UpdateResult
from junkie_async.emulator import Emulator

VALUE = "JNK-1"

Bind = Callable[[JunkieClient, str, str], Awaitable[None]]


@pytest.fixture
def bind() -> Bind:
    """The example, as a function."""
    found = re.search(r"\n\n((?:    .*\n)+)\n", inspect.getdoc(Keys.verify) or "")
    assert found
    names: dict[str, Bind] = {}
    body = textwrap.indent(textwrap.dedent(found[1]), "    ")
    exec(f"async def bind(junkie, value, device):\n{body}", {}, names)
    return names["bind"]


def devices(key: Key) -> list[str]:
    """Return the bound devices."""
    return [one.hwid for one in key.hwids]


@pytest.mark.parametrize(
    ("fields", "bound"),
    [
        ({"hwid_limit": 1}, ["A"]),
        ({"hwid_limit": 2}, ["A", "B"]),
        ({"hwid_limit": 0}, ["A", "B"]),
        ({"hwid_limit": 2, "hwids": ["C"]}, ["A", "C"]),
        ({"hwid_limit": 1, "hwids": ["C"]}, ["C"]),
        ({"no_hwid": True}, []),
        ({"is_invalidated": True}, []),
    ],
)
async def test_devices_one_after_the_other(
    bind: Bind, fields: dict[str, object], bound: list[str]
) -> None:
    """Each is bound once, while the key has room."""
    async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as junkie:
        await emulator.seed(1, key_value=lambda _: VALUE, **fields)
        for device in ("A", "A", "B"):
            await bind(junkie, VALUE, device)
        key = await junkie.keys.get(VALUE)
        assert sorted(devices(key)) == bound
        assert emulator.calls.get("updateKey", 0) == len(set(bound) - {"C"})


async def test_two_devices_at_once(bind: Bind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both calls succeed, and one of the devices is not bound."""
    update, both = Keys.update, asyncio.Barrier(2)

    async def wait_and_update(keys: Keys, key: Key, **changes: object) -> UpdateResult:
        await both.wait()
        return await update(keys, key, **changes)  # type: ignore[arg-type]

    monkeypatch.setattr(Keys, "update", wait_and_update)
    async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as junkie:
        await emulator.seed(1, key_value=lambda _: VALUE, hwid_limit=1)
        await asyncio.gather(bind(junkie, VALUE, "A"), bind(junkie, VALUE, "B"))
        [bound] = devices(await junkie.keys.get(VALUE))
        [lost] = {"A", "B"} - {bound}
        assert await junkie.keys.verify(VALUE, hwid=bound)
        assert (await junkie.keys.verify(VALUE, hwid=lost)).reason == "hwid_mismatch"
