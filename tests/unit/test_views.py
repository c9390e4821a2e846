"""`JunkieClient.with_options`: what a view has of its own, and what it shares."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from typing import Any

import pytest

from junkie_async import (
    ClientClosedError,
    InvalidRequestError,
    JunkieClient,
    RateLimitError,
    RequestTimeoutError,
    RetryPolicy,
    ServerError,
)
from tests.faults._echo import HANG, Service

from .clock import run
from .scripted import GOOD, STEADY, Script, make_client, now
from .test_call_deadline import BATCH, page


def test_options_are_those_of_the_view() -> None:
    """A view of a view keeps what is left out, and its client notices nothing."""
    script = Script()
    client = make_client(script)
    view = client.with_options(timeout=2, deadline=3)
    of_view = view.with_options(timeout=5)

    async def main() -> None:
        for one in (client, view, of_view, of_view.with_options(deadline=None)):
            await one.keys.folders()

    run(main())
    assert script.timeouts == [None, 2.0, 5.0, 5.0]
    assert [left for _, left in script.began] == [180.0, 3.0, 3.0, 180.0]


def test_the_deadline_that_was_assigned() -> None:
    """A view has the deadline that an integration has given its client; then each has its own."""
    client = make_client(Script())
    client.keys.deadline = timedelta(seconds=10)
    view = client.with_options(timeout=1)
    client.keys.deadline = 20.0
    assert (view.keys.deadline, client.keys.deadline) == (10.0, 20.0)


def test_retries_are_those_of_the_view() -> None:
    """The client goes on to retry as before."""
    script = Script((503, {}, b""), (503, {}, b""), GOOD)
    client = make_client(script, retry=STEADY)

    async def main() -> None:
        with pytest.raises(ServerError) as caught:
            await client.with_options(retry=RetryPolicy(attempts=1)).keys.folders()
        assert caught.value.attempts == 1
        assert await client.keys.folders() == []

    run(main())


def test_a_pause_is_shared() -> None:
    """A 429 of a view pauses the client, as long as the client's own policy allows."""
    script = Script((429, {"Retry-After": "60"}, b""))
    client = make_client(script, retry=STEADY)
    hasty = client.with_options(retry=RetryPolicy(retry_after_cap=5.0))

    async def main() -> None:
        with pytest.raises(RateLimitError):
            await hasty.keys.folders()
        with pytest.raises(RateLimitError) as caught:
            await client.with_options(deadline=10).keys.folders()
        assert caught.value.attempts == 0
        await client.keys.folders()

    run(main())
    assert [at for at, _ in script.began] == [1000.0, 1060.0]


@pytest.mark.parametrize(
    ("priority", "left"), [("interactive", 180.0), ("walk", math.inf), ("job", math.inf)]
)
def test_priority(priority: Any, left: float) -> None:
    """Calls and walks have it, and the deadline that comes with it; jobs remain jobs."""
    script = Script(*map(page, [1, 1, 2, 3]), BATCH)
    view = make_client(script).with_options(priority=priority)

    async def main() -> None:
        await view.keys.list()
        assert len(await view.keys.list().collect()) == 2
        await view.keys.create_many(1, provider_id=1)

    run(main())
    assert [seconds for _, seconds in script.began] == [left] * 4 + [math.inf]


def test_walks_have_a_priority_of_their_own() -> None:
    """None is that of the kind of call."""
    script = Script(*map(page, [1, 1, 2, 3]))
    view = make_client(script).with_options(priority="job").with_options(priority=None)

    async def main() -> None:
        await view.keys.list()
        await view.keys.list().collect()

    run(main())
    assert [left for _, left in script.began] == [180.0, *[math.inf] * 3]


async def test_closing_a_view() -> None:
    """It leaves the client open: others use it. The end of the client is the end of its views."""
    client = make_client(Script())
    view = client.with_options(timeout=1)
    async with view:
        pass
    await view.close()
    await client.keys.folders()
    states = [view.closed]
    await client.close()
    assert [*states, view.closed] == [False, True]
    with pytest.raises(ClientClosedError):
        await view.keys.folders()


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", 0),
        ("timeout", None),
        ("deadline", -1),
        ("deadline", math.inf),
        ("deadline", "5"),
        ("retry", None),
        ("retry", 3),
        ("priority", "high"),
        ("priority", 1),
    ],
)
def test_bad_options(option: str, value: Any) -> None:
    """Options are checked when they are passed in."""
    client = JunkieClient("any")
    with pytest.raises(InvalidRequestError) as caught:
        client.with_options(**{option: value})
    assert caught.value.field == option
    if option in ("deadline", "priority"):
        with pytest.raises(InvalidRequestError):
            setattr(client.keys, option, value)


def test_a_short_call_beside_patient_jobs() -> None:
    """Its user gets an answer in 2 s while all workers of a job wait for a hung service."""

    async def main() -> None:
        async with (
            Service(lambda _: HANG) as service,
            JunkieClient("secret", base_url=service.url, timeout=600) as client,
        ):
            job = asyncio.create_task(_create(client))
            while len(service.requests) < 8:
                await asyncio.sleep(0)
            begin = now()
            with pytest.raises(RequestTimeoutError):
                await client.with_options(timeout=2, deadline=2).keys.verify("JNK-1")
            assert now() - begin == pytest.approx(2.0, abs=0.1)
            assert not job.done()
            job.cancel()
            await asyncio.gather(job, return_exceptions=True)

    run(main(), grace=0.02)


async def _create(client: JunkieClient) -> None:
    await client.keys.create_many(800, provider_id=1)
