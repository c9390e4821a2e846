"""A key value that a client has created before: the response is that of another call."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from junkie_async import (
    BatchError,
    InvalidResponseError,
    JunkieError,
    Keys,
    Outcome,
    OutcomeUnknownError,
)
from junkie_async._http import created_keys
from junkie_async._http.transport import Response

from .clock import run
from .scripted import Script, make_dispatcher

ONE: Response = (200, {}, b'{"key": {"id": 1, "key_value": "A"}}')


def batch(*values: str | None) -> Response:
    """Make the response to the creation of several keys."""
    return 201, {}, msgspec.json.encode({"keys": values})


def create(keys: Keys) -> Awaitable[object]:
    """Create a key."""
    return keys.create(provider_id=1)


def create_two(keys: Keys) -> Awaitable[object]:
    """Create two keys."""
    return keys.create_batch(provider_id=1, amount=2)


def run_job(keys: Keys) -> Awaitable[object]:
    """Create two keys by a job."""
    return keys.create_many(2, provider_id=1)


@pytest.mark.parametrize(
    ("first", "second", "responses"),
    [
        (create, create, [ONE, ONE]),
        (create_two, create_two, [batch("A", "B")] * 2),
        (create_two, run_job, [batch("A", "B")] * 2),
        (run_job, create_two, [batch("A", "B")] * 2),
        (run_job, run_job, [batch("A", "B")] * 2),
        (create, create_two, [ONE, batch("A", "B")]),
    ],
)
def test_a_response_that_comes_again(
    first: Callable[[Keys], Awaitable[object]],
    second: Callable[[Keys], Awaitable[object]],
    responses: list[Response],
) -> None:
    """Nobody gets a key that somebody else has; what became of the call is unknown."""

    async def main() -> None:
        keys = Keys(make_dispatcher(Script(*responses)))
        await first(keys)
        with pytest.raises(JunkieError) as caught:
            await second(keys)
        error = caught.value
        if isinstance(error, BatchError):
            assert (error.report.created, error.report.unknown) == (0, 2)
            error = error.__cause__  # type: ignore[assignment]
        assert isinstance(error, OutcomeUnknownError)
        assert error.outcome is Outcome.UNKNOWN
        assert isinstance(error.__cause__, InvalidResponseError)

    run(main())


LONG, BAD, EMPTY = batch("A", "B", "C"), batch("A", None), batch("", "A")
REFUSED: Response = (207, {}, b'{"success": false, "keys": ["A"]}')


@pytest.mark.parametrize("call", [create_two, run_job])
@pytest.mark.parametrize("first", [LONG, BAD, EMPTY, REFUSED, batch("A", "B")])
@pytest.mark.parametrize("second", [LONG, BAD, EMPTY, REFUSED, batch("A", "B")])
def test_an_unusable_response_that_comes_again(
    call: Callable[[Keys], Awaitable[object]], first: Response, second: Response
) -> None:
    """Its readable keys are given to one call only."""

    async def main() -> None:
        keys = Keys(make_dispatcher(Script(first, second)))
        with contextlib.suppress(OutcomeUnknownError):
            await create_two(keys)
        with pytest.raises(JunkieError) as caught:
            await call(keys)
        error = caught.value
        if isinstance(error, BatchError):
            assert (error.report.created, error.report.unknown) == (0, 2)
            error = error.__cause__  # type: ignore[assignment]
        assert isinstance(error, OutcomeUnknownError)
        assert isinstance(error.__cause__, InvalidResponseError)
        assert error.__cause__.rows == ()
        if first == second == batch("A", "B"):
            assert error.__cause__.field == "key_value"
            assert error.outcome is Outcome.UNKNOWN
        assert error.__cause__.__context__ is None

    run(main())


def test_responses_without_a_readable_key_are_not_taken_for_one_another() -> None:
    """Nothing tells that one came before: the second says what is wrong with it, too."""

    async def main() -> None:
        keys = Keys(make_dispatcher(Script(*[(201, {}, b'{"key": {"id": 3}}')] * 2)))
        for _ in range(2):
            with pytest.raises(OutcomeUnknownError) as caught:
                await keys.create(provider_id=1)
            assert isinstance(caught.value.__cause__, InvalidResponseError)
            assert caught.value.__cause__.field == "key.key_value"

    run(main())


def test_keys_of_another_call_are_not_remembered() -> None:
    """That call may get them, too."""
    foreign = {"keys": ["A", "B"], "config": {"provider_id": 2}}

    async def main() -> None:
        first: Response = (201, {}, msgspec.json.encode(foreign))
        keys = Keys(make_dispatcher(Script(first, batch("A", "B"))))
        with pytest.raises(OutcomeUnknownError) as caught:
            await create_two(keys)
        assert isinstance(caught.value.__cause__, InvalidResponseError)
        assert caught.value.__cause__.rows == ("A", "B")
        await create_two(keys)

    run(main())


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest key is forgotten first."""
    monkeypatch.setattr(created_keys, "_MOST_KEPT", 2)

    async def main() -> None:
        keys = Keys(make_dispatcher(Script(*map(batch, "ABCA"))))
        for _ in range(4):
            await keys.create_batch(provider_id=1, amount=1)

    run(main())


def test_all_keys_are_remembered_not_only_the_latest() -> None:
    """The response of the first creation comes again after that of another one."""

    async def main() -> None:
        other: Response = (200, {}, b'{"key": {"id": 2, "key_value": "B"}}')
        keys = Keys(make_dispatcher(Script(ONE, other, ONE)))
        await create(keys)
        await create(keys)
        with pytest.raises(OutcomeUnknownError):
            await create(keys)

    run(main())
