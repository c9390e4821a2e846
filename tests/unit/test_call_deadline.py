"""`Keys.deadline`: what it limits, on a virtual clock."""

from __future__ import annotations

import math

import msgspec
import pytest

from junkie_async import (
    Outcome,
    OutcomeUnknownError,
    RateLimitError,
    RequestTimeoutError,
    RetryPolicy,
)
from junkie_async._http.transport import Response
from junkie_async._keys.keys import Keys

from .clock import run
from .scripted import STEADY, Script, delayed, make_dispatcher, now

LATE = RequestTimeoutError("timed out")
KEY: Response = (200, {}, b'{"key": {"id": 1, "key_value": "JNK"}}')
GONE: Response = (404, {}, b'{"error": "Key not found"}')
BATCH: Response = (201, {}, b'{"keys": ["JNK"], "count": 1}')
DELETED: Response = (200, {}, b'{"deleted": 1}')
UPDATED: Response = (200, {}, b'{"success": true}')
FOUND: Response = (200, {}, b'{"keys": [{"id": 1, "key_value": "7"}]}')


def page(number: int, pages: int = 2) -> Response:
    """Make a page with a key."""
    rows = [{"id": number, "key_value": f"JNK-{number}"}] if number <= pages else []
    pagination = {"page": number, "limit": 1, "total": pages, "totalPages": pages}
    return 200, {}, msgspec.json.encode({"keys": rows, "pagination": pagination})


def make_keys(script: Script, deadline: float | None = 10.0, retry: RetryPolicy = STEADY) -> Keys:
    """Make the operations over a script."""
    keys = Keys(make_dispatcher(script, retry))
    keys.deadline = deadline
    return keys


@pytest.mark.parametrize(
    ("retry", "left"), [(STEADY, 10.0), (RetryPolicy(deadline=5.0), 5.0)], ids=["own", "policy"]
)
def test_the_shorter_deadline_counts(retry: RetryPolicy, left: float) -> None:
    """It limits an attempt, next to the deadline of the retry policy."""
    script = Script(KEY)
    run(make_keys(script, retry=retry).get(1))
    assert script.began == [(1000.0, left)]


def test_the_requests_of_a_call_share_it() -> None:
    """A look-up of four requests has it once; without it each has that of the policy."""
    slow = delayed(2.0, GONE)
    script = Script(slow, page(1), slow, page(1), GONE, page(1))
    run(make_keys(script).verify(" JNK "))
    run(make_keys(script, None).verify("JNK"))
    assert [left for _, left in script.began] == [10.0, 8.0, 8.0, 6.0, 180.0, 180.0]


def test_no_request_after_it() -> None:
    """A call whose look-up took all of it changes nothing."""
    script = Script(delayed(10.0, FOUND))
    with pytest.raises(RequestTimeoutError) as caught:
        run(make_keys(script).update("7", is_premium=True))
    assert caught.value.outcome is Outcome.NOT_EXECUTED
    assert (caught.value.method, len(script.began)) == ("PUT", 1)


def test_retries_end_with_it() -> None:
    """A retry that could not begin before it is not made."""
    script = Script(*[(503, {}, b"")] * 9)

    async def main() -> float:
        with pytest.raises(Exception, match="503"):
            await make_keys(script, 2.5).get(1)
        return now()

    assert run(main()) <= 1002.5
    assert script.began == [(1000.0, 2.5), (1001.0, 1.5)]


def test_a_pause_that_is_longer() -> None:
    """The call raises at once, and says how long the pause is."""
    script = Script((429, {"Retry-After": "60"}, b""))

    async def main() -> float:
        with pytest.raises(RateLimitError) as caught:
            await make_keys(script).get(1)
        assert caught.value.retry_after == 60.0
        return now()

    assert run(main()) < 1001.0


def test_a_create_is_in_doubt() -> None:
    """A create that was sent and not answered in time has an unknown outcome."""
    with pytest.raises(OutcomeUnknownError) as caught:
        run(make_keys(Script(LATE)).create(provider_id=1))
    assert isinstance(caught.value.__cause__, RequestTimeoutError)


def test_a_walk_has_it_for_its_first_page() -> None:
    """A hung service shows there. Later pages may wait out a pause, as an export must."""
    script = Script(*map(page, [1, 2, 3, 1, 1, 1, 2, 3]))
    keys = make_keys(script)

    async def main() -> None:
        assert len(await keys.list().collect()) == 2
        await keys.list()
        await keys.list(page=3).count()

    run(main())
    # The walk that counts begins with page 1, the list with page 3.
    lefts = [left for _, left in script.began]
    assert lefts == [10.0, math.inf, math.inf, 10.0, 10.0, 10.0, 10.0, 10.0]


def test_jobs_have_none() -> None:
    """Their calls wait for a slot as long as it takes, and a ledger's walk waits out an outage."""
    script = Script(BATCH, DELETED, UPDATED, FOUND, UPDATED)

    async def main() -> None:
        await make_keys(script).create_many(1, provider_id=1)
        await make_keys(script).delete_many([1])
        await make_keys(script).update_many([1], is_premium=True)
        await make_keys(script).reset_hwid_many(["7"])  # looked up first

    run(main())
    assert [left for _, left in script.began] == [math.inf] * 5
