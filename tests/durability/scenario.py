"""A job, the kills that it meets, and the check of what came of it all."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Final, TypeAlias

import attrs

from junkie_async import ConfigurationError, provisioning

from .job import Forks, Order
from .server import Service

Kill: TypeAlias = tuple[str, int] | float
"""At a point, and which time it is met; or after so many seconds."""

SCRIPT: Final = ("healthy", "twice", "in part", "late", "fewer", "unanswered")
"""What the first calls of every job meet, so that all points come up early."""

_STARTS: Final = 12  # at most, after the last kill: jobs that gave up are started again


@attrs.frozen(kw_only=True)
class Scenario:
    """All that a run of the suite is made of.

    Attributes:
        seed: Of the service's dice, and of the job's size.
        kills: How the first processes end, one each; the next ones run to their ends.
        reconcile_after: Seconds that the job waits before it settles doubts.
        amount: Keys asked for; some number when None.
        script: What the first calls meet.
        trouble: How likely later ones meet trouble.
        late: Seconds after which late calls are carried out.
        without_intent: Whether the record of what is about to be sent is left out.
    """

    seed: int
    kills: tuple[Kill, ...] = ()
    reconcile_after: float = 0.6
    amount: int | None = None
    script: tuple[str, ...] | None = None
    trouble: float = 0.25
    late: tuple[float, float] = (0.02, 0.15)
    without_intent: bool = False


@attrs.frozen(kw_only=True)
class Played:
    """What came of a scenario.

    Attributes:
        codes: The processes' exit statuses, or -signals.
        hits: How often the last process came by each point.
        met: How often the service met requests to create keys in each of its ways.
        wrong: What broke the promise; empty when nothing did.
    """

    codes: list[int]
    hits: Counter[str]
    met: Counter[str]
    wrong: list[str]


async def play(scenario: Scenario, forks: Forks, folder: Path) -> Played:
    """Run a job until it ends without an error, killing its first processes."""
    dice = random.Random(f"job {scenario.seed}")
    script = list(SCRIPT if scenario.script is None else scenario.script)
    if scenario.script is None:
        dice.shuffle(script)
    amount = scenario.amount or dice.randint(601, 1500)  # more calls than the script is long
    async with Service(
        scenario.seed,
        script=script,
        trouble=scenario.trouble,
        newest_first=dice.random() < 0.5,
        late=scenario.late,
        foreign=dice.choice([0, 1, 150, 300]) if scenario.trouble else 3,
    ) as service:
        order = Order(
            url=service.url,
            folder=str(folder),
            amount=amount,
            concurrency=dice.randint(1, 6),
            reconcile_after=scenario.reconcile_after,
            without_intent=scenario.without_intent,
        )
        codes = [await forks.run(_killed(order, kill)) for kill in scenario.kills]
        wrong = [] if 0 in codes or not codes else _status_fails(folder)
        for _ in range(_STARTS):
            (folder / "output").unlink(missing_ok=True)
            codes.append(await forks.run(order))
            if codes[-1] != 3:
                break
        service.catch_up()
        wrong += _violations(service, folder, amount, codes)
    hits = json.loads((folder / "hits").read_text()) if codes[-1] == 0 else {}
    return Played(codes=codes, hits=Counter(hits), met=service.met, wrong=wrong)


def _killed(order: Order, kill: Kill) -> Order:
    if isinstance(kill, tuple):
        return attrs.evolve(order, kill_at=kill)
    return attrs.evolve(order, kill_after=kill)


def _status_fails(folder: Path) -> list[str]:
    """Look into the ledger of a job that was killed, unless it had not begun."""
    try:
        provisioning.status(folder / "ledger.db")
    except ConfigurationError as error:
        if "not a ledger" not in str(error) and (folder / "ledger.db").exists():
            return [f"its status can't be had: {error}"]
    return []


def _violations(service: Service, folder: Path, amount: int, codes: list[int]) -> list[str]:
    """Hold what the job has given against the service's books."""
    wrong = list(service.wrong)
    wrong += [f"a process ended with {code}" for code in codes if code not in (0, 3, -9)]
    if codes[-1] != 0:
        return [*wrong, f"the job did not end: {codes}"]
    output: list[str] = json.loads((folder / "output").read_text())
    given = set((folder / "given").read_text().split())
    there = set(service.values())
    sets = {
        "lost: the service has keys that were not reported": there - set(output),
        "reported keys that the service does not have": set(output) - there,
        "keys given by an earlier run are gone": given - there,
    }
    wrong += [f"{what}: {len(values)}" for what, values in sets.items() if values]
    counts = {"made": len(service.values()), "reported": len(output), "distinct": len({*output})}
    wrong += [f"{n} keys {how}, not {amount}" for how, n in counts.items() if n != amount]
    status = provisioning.status(folder / "ledger.db")
    if not status.done or status.open or status.created != amount:
        wrong.append(f"its status is {status}")
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in folder.glob("ledger*")}
    wrong += [f"{name} has mode {mode}" for name, mode in modes.items() if mode != "0o600"]
    return wrong
