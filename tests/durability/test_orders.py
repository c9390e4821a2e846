"""Orders that several processes fill at once, from a file or a database."""

from __future__ import annotations

import contextlib
import random
import signal
from collections import defaultdict
from pathlib import Path
from typing import Final

import attrs
import pytest

from tests.postgres_server import make_database

from .job import DONE, ChildOptions, ForkServer
from .server import RECONCILE_AFTER, Service

_PROCESSES: Final = 4
_KILLS: Final = (("after POST /keys", 0), ("before POST /keys", 0), None, None)


async def _run_webhooks(
    orders: int, options: ChildOptions, fork_server: ForkServer, service: Service
) -> dict[str, set[str]]:
    """Send five webhooks for each order from four processes, two of which are killed."""
    webhooks = [f"order-{number}" for number in range(orders)] * 5
    random.Random(orders).shuffle(webhooks)
    children = [
        # Each begins with an order of its own. Others may be quick enough to fill all the rest.
        attrs.evolve(
            options,
            number=number,
            act_at=at,
            orders=(f"own-{number}", *webhooks[number::_PROCESSES]),
        )
        for number, at in enumerate(_KILLS)
    ]
    codes = await fork_server.run(*children)
    assert codes == [-signal.SIGKILL, -signal.SIGKILL, DONE, DONE]
    again = [attrs.evolve(one, act_at=None) for one in children[:2]]
    assert await fork_server.run(*again) == [DONE, DONE]
    service.catch_up()
    answers: dict[str, set[str]] = defaultdict(set)
    count = 0
    for path in _find_answers(Path(options.folder)):
        for line in path.read_text().splitlines():
            count += 1
            order, _, value = line.partition(" ")
            answers[order].add(value)
    assert count >= len(webhooks)
    return answers


def _find_answers(folder: Path) -> list[Path]:
    return [*folder.glob("answers*")]


@pytest.mark.parametrize("where", ["file", "database"])
@pytest.mark.parametrize("orders", [20, pytest.param(100, marks=pytest.mark.slow)])
async def test_each_order_is_filled_once(
    where: str,
    orders: int,
    fork_server: ForkServer,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """All answers of an order are the same key, and there is no other key."""
    script = ["no response", "late", "twice", "failed after", "truncated", "swapped"]
    async with contextlib.AsyncExitStack() as stack:
        service = await stack.enter_async_context(Service(orders, script=script, trouble=0.2))
        dsn: str | None = None
        if where == "database":
            superuser = request.getfixturevalue("postgres_superuser")
            dsn = await stack.enter_async_context(make_database(superuser))
        options = ChildOptions(
            url=service.url,
            folder=str(tmp_path),
            amount=1,
            reconcile_after=RECONCILE_AFTER,
            dsn=dsn,
        )
        options.ledger.parent.mkdir()
        answers = await _run_webhooks(orders, options, fork_server, service)
        assert len(answers) == orders + _PROCESSES
        assert {len(values) for values in answers.values()} == {1}
        assert not service.violations
        assert sorted(service.values()) == sorted(value for (value,) in answers.values())
