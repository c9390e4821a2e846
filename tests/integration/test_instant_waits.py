"""Instant waits in users' tests: what clients do stays the same, and takes no time."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import attrs
import pytest

from junkie_async import (
    JunkieClient,
    OutcomeUnknownError,
    RateLimitError,
    RetryPolicy,
    ServerError,
)
from junkie_async._http.retry import hurry, shorten_wait
from junkie_async.emulator import Emulator, Faults

LOCAL = "http://127.0.0.1:1/api/v2"


@pytest.fixture(autouse=True)
def _ask_for_instant_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUNKIE_TEST_INSTANT_WAITS", "1")


@pytest.mark.parametrize("url", ["https://api.jnkie.com/api/v2", "https://127.0.0.1/api/v2"])
def test_no_effect_over_tls(url: str) -> None:
    """A variable that was forgotten in production changes nothing."""
    policy = RetryPolicy()
    assert hurry(policy, url) is policy
    assert shorten_wait(policy, 30.0) == 30.0


def test_no_effect_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by an empty one."""
    for value in (None, ""):
        monkeypatch.delenv("JUNKIE_TEST_INSTANT_WAITS", raising=False)
        if value is not None:
            monkeypatch.setenv("JUNKIE_TEST_INSTANT_WAITS", value)
        policy = RetryPolicy()
        assert hurry(policy, LOCAL) is policy


def test_what_is_hurried() -> None:
    """Waits are; limits of calls, and what is taken for too long a wait, are not."""
    policy, hurried = RetryPolicy(), hurry(RetryPolicy(), LOCAL)
    changed = {
        field.name
        for field in attrs.fields(RetryPolicy)
        if field.eq and getattr(policy, field.name) != getattr(hurried, field.name)
    }
    assert changed == {"wait_initial", "wait_max", "wait_jitter", "outage"}
    assert hurried.decide(RateLimitError(retry_after=100), idempotent=True, attempt=1) == 0.1
    assert not hurried.decide(RateLimitError(retry_after=121), idempotent=True, attempt=1)
    assert not hurried.decide(RateLimitError(retry_after=30), idempotent=True, attempt=1, left=10.0)


async def test_calls_fail_as_in_production_and_at_once() -> None:
    """The attempts are those of the policy; in production these calls take minutes."""
    async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as junkie:
        started = time.monotonic()
        emulator.faults = Faults(error_rate=1.0)
        with pytest.raises(ServerError):
            await junkie.keys.get(1)
        emulator.faults = Faults(throttle_rate=1.0, retry_after=60)
        with pytest.raises(RateLimitError):
            await junkie.keys.get(1)
        with pytest.raises(RateLimitError):
            await junkie.with_options(retry=RetryPolicy(attempts=3)).keys.get(1)
        assert emulator.requests == 5 + 5 + 3
        emulator.faults = Faults(throttle_rate=1.0, retry_after=121)
        with pytest.raises(RateLimitError):
            await junkie.keys.get(1)
        assert emulator.requests == 5 + 5 + 3 + 1
        with pytest.raises(OutcomeUnknownError):
            emulator.faults = Faults(drop_after_rate=1.0)
            await junkie.keys.create(provider_id=1)
        assert time.monotonic() - started < 3


async def test_walks_wait_out_an_outage() -> None:
    """Ten minutes are 0.6 s: a walk goes on for that long, and no longer."""
    async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as junkie:
        await emulator.seed(150)
        emulator.faults = Faults(error_rate=1.0)
        walk = asyncio.create_task(junkie.keys.list().collect())
        while emulator.requests < 8:  # more than the attempts of a call
            await asyncio.sleep(0.001)
        emulator.faults = None
        assert len(await walk) == 150


async def test_a_deadline_ends_an_outage_as_in_production() -> None:
    """A walk that may take 10 s makes as many attempts as with real waits: 8 or 9."""
    async with Emulator() as emulator, JunkieClient("any", base_url=emulator.url) as junkie:
        junkie.keys.deadline = 10.0
        emulator.faults = Faults(error_rate=1.0)
        with pytest.raises(ServerError):
            await junkie.keys.list().collect()
        assert 8 <= emulator.requests <= 9


async def test_a_job_looks_for_lost_keys_soon(tmp_path: Path) -> None:
    """Its two minutes are 0.12 s, and the number of keys is exact."""
    lost = Faults(drop_after_rate=0.5, seed=1, operations="createKeyBatch")
    async with Emulator(faults=lost) as emulator:
        async with JunkieClient("any", base_url=emulator.url) as junkie:
            started = time.monotonic()
            job = junkie.keys.create_many(300, provider_id=1, ledger=tmp_path / "a.db")
            report = await job
            assert time.monotonic() - started < 10
        assert (report.created, await emulator.count()) == (300, 300)
        assert emulator.faults_injected["drop_after"]
