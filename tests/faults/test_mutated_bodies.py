"""Whatever the service answers, a call gives a value or an error of this package, soon."""

from __future__ import annotations

import asyncio
import contextlib
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from junkie_async import APIError, ConnectError, JunkieError, Keys, RetryPolicy
from junkie_async._http.dispatcher import Dispatcher
from junkie_async._http.send_state import SendState
from junkie_async._http.transport import Response, Transport
from junkie_async._protocol.requests import Request

from ..cpu_time import exceeds
from .mutations import API_KEY, BOMBS, DEVICE, MIB, RAW_BODIES, VALUE, spoil_answer

CALLS: dict[str, tuple[Callable[[Keys], Awaitable[object]], tuple[str, ...]]] = {
    "list": (lambda keys: keys.list(), ()),
    "walk": (lambda keys: keys.list(key=VALUE).collect(), (VALUE,)),
    "strict walk": (lambda keys: keys.list(hwid=DEVICE, strict=True).collect(), (DEVICE,)),
    "count": (lambda keys: keys.list().count(), ()),
    "get": (lambda keys: keys.get(VALUE), (VALUE,)),
    "find": (lambda keys: keys.find(VALUE), (VALUE,)),
    "verify": (lambda keys: keys.verify(VALUE, hwid=DEVICE), (VALUE, DEVICE)),
    "create": (lambda keys: keys.create(provider_id=42, hwid=DEVICE), (DEVICE,)),
    "create_batch": (
        lambda keys: keys.create_batch(provider_id=42, amount=100, hwid=DEVICE),
        (DEVICE,),
    ),
    "create_many": (lambda keys: keys.create_many(200, provider_id=42), ()),
    "update": (lambda keys: keys.update(VALUE, hwids=[DEVICE]), (VALUE, DEVICE)),
    # One key: each is a call of its own, and a service has no reason to name the key of another.
    "update_many": (lambda keys: keys.update_many([VALUE], hwids=[DEVICE]), (VALUE, DEVICE)),
    "reset_hwid_many": (lambda keys: keys.reset_hwid_many([VALUE]), (VALUE,)),
    "delete": (lambda keys: keys.delete(VALUE), (VALUE,)),
    "bulk_delete": (lambda keys: keys.bulk_delete([VALUE, 7]), (VALUE,)),
    "delete_many": (lambda keys: keys.delete_many([VALUE, 7, 8]), (VALUE,)),
    "purge": (lambda keys: keys.purge(everything=True), ()),
    "reset_hwid": (lambda keys: keys.reset_hwid(VALUE), (VALUE,)),
    "folders": (lambda keys: keys.folders(), ()),
}
"""Calls, and their secrets besides the API key."""

_MAX_ANSWERS = 12  # of one call; then the service is gone
_CASES_A_TEST = 50


class SpoiledService(Transport):
    """Answers every request alike, up to a limit."""

    def __init__(self, answer: Response) -> None:
        super().__init__(base_url="http://127.0.0.1", timeout=30.0, session=None)
        self._answer = answer
        self.answers = 0

    async def attempt(self, request: Request[object], state: SendState, left: float) -> Response:
        """Answer."""
        self.answers += 1
        if self.answers > _MAX_ANSWERS:
            raise ConnectError("gone")
        state.sent = True
        return self._answer


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Number the tests: each takes 50 cases."""
    if "block" in metafunc.fixturenames:
        given = metafunc.config.getoption("--mutated-bodies", None) or 400
        metafunc.parametrize("block", range(-(-given // _CASES_A_TEST)))


def make_call(seed: int) -> tuple[str, SpoiledService, Callable[[], Awaitable[Any]]]:
    """Make the service, the client and the call of a case."""
    random = Random(seed)
    name = random.choice([*CALLS])
    return make_call_with(name, spoil_answer(random), attempts=random.choice((1, 1, 3)))


def make_call_with(
    name: str, answer: Response, attempts: int = 1
) -> tuple[str, SpoiledService, Callable[[], Awaitable[Any]]]:
    """Make a service that answers so, a client, and a call by its name."""
    service = SpoiledService(answer)
    retry = RetryPolicy(
        attempts=attempts, wait_initial=0.0, wait_jitter=0.0, retry_after_cap=0.0, outage=0.0
    )
    dispatcher = Dispatcher(service, api_key=API_KEY, retry=retry, max_in_flight=4, rate_limit=None)
    return name, service, lambda: _settle(CALLS[name][0](Keys(dispatcher)))


async def _settle(call: Awaitable[object]) -> object:
    try:
        return await call
    except JunkieError as error:
        return error


async def run_case(seed: int) -> tuple[str, object, float]:
    """Run a case; return its name, what came of it, and its CPU seconds for each answer."""
    name, service, call = make_call(seed)
    begin = time.thread_time()
    result = await call()
    return name, result, (time.thread_time() - begin) / max(1, service.answers)


def find_secret(result: object, *secrets: str) -> str | None:
    """Return a secret that an error shows."""
    seen: object = result
    while isinstance(seen, JunkieError):
        shown = f"{seen} {seen!r} {seen.args}"
        if isinstance(seen, APIError):
            shown += f"{seen.body} {seen.headers}"
        for secret in secrets:
            if secret.lower() in shown.lower():
                return secret
        seen = seen.__cause__ or seen.__context__
    return None


async def test_every_answer(block: int) -> None:
    """A value or a JunkieError, within 50 ms of CPU an answer and 32 MiB, without a secret.

    ``--mutated-bodies=100000`` runs more cases. A failure names its seed: `run_case(seed)`.
    """
    loop, complaints = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    for seed in range(block * _CASES_A_TEST, (block + 1) * _CASES_A_TEST):
        try:
            name, result, seconds = await run_case(seed)
        except Exception as error:
            pytest.fail(f"seed {seed}: {error!r}")
        # Other processes take caches away, and the collector runs when it likes: the least counts.
        for _ in range(4):
            if exceeds(seconds, 0.05):
                seconds = min(seconds, (await run_case(seed))[2])
        assert not exceeds(seconds, 0.05), f"seed {seed}: {name} took {seconds:.3f} s"
        shown = find_secret(result, API_KEY, *CALLS[name][1])
        assert shown is None, f"seed {seed}: {name} shows {shown}"
        assert not complaints, f"seed {seed}: {name}: {complaints}"
        del result


@pytest.mark.parametrize("name", CALLS)
async def test_large_bodies(name: str) -> None:
    """Each of the largest bodies costs each call little: the random ones seldom meet."""
    for body in (*(body for body in RAW_BODIES if len(body) > MIB / 4), *BOMBS):
        encoding = {"Content-Encoding": "gzip"} if body in BOMBS else {}
        _, service, call = make_call_with(name, (200, encoding, body))
        taken: list[float] = []
        while not taken or (exceeds(taken[-1], 0.05) and len(taken) < 5):
            begin, before = time.thread_time(), service.answers
            await call()
            taken.append((time.thread_time() - begin) / (service.answers - before or 1))
        assert not exceeds(min(taken), 0.05), body[:40]
        tracemalloc.start()
        await call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= 32 * MIB, body[:40]


async def test_memory(block: int) -> None:
    """Ten of the cases of each test above, with their memory traced."""
    for seed in range(block * _CASES_A_TEST, (block + 1) * _CASES_A_TEST, 5):
        name, _, call = make_call(seed)
        tracemalloc.start()
        try:
            with contextlib.suppress(JunkieError):
                await call()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak <= 32 * MIB, f"seed {seed}: {name} took {peak / MIB:.0f} MiB"
