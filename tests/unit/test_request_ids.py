"""The request ID of the service: in errors, events and log lines, and never a secret."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import pytest
from multidict import CIMultiDict

from junkie_async import (
    AttemptEvent,
    Hooks,
    InvalidResponseError,
    JunkieError,
    NotFoundError,
    OutcomeUnknownError,
    RequestTimeoutError,
    ServerError,
)
from junkie_async._keys.keys import Keys
from junkie_async._protocol import requests
from junkie_async._protocol.request_ids import read_request_id

from .clock import run
from .scripted import GOOD, Script, Step, make_dispatcher

RAY = "8f2c4e6a1b3d5f70-FRA"
UUID = "0b9f5a52-3c35-4f36-9c3e-0e7d2c1a8b44"


class Watch(Hooks):
    """Keeps the request IDs of attempts."""

    def __init__(self) -> None:
        self.seen: list[str | None] = []

    def on_attempt(self, event: AttemptEvent) -> None:
        """Keep one."""
        self.seen.append(event.request_id)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({"CF-Ray": RAY}, RAY),
        ({"cf-ray": f" {RAY} "}, RAY),
        ({"CF-Ray": RAY, "X-Request-Id": UUID}, UUID),
        ({"CF-Ray": RAY, "X-Request-Id": "two words"}, RAY),
        ({"X-Request-Id": "a" * 500}, "a" * 128),
        ({"X-Request-Id": ""}, None),
        ({"X-Request-Id": "\x1b[31mred"}, None),
        ({"X-Request-Id": "<b>"}, None),
        ({"X-Request-Id": "für"}, None),
        ({"X-Request-Id": "of-JNK-0001-abcd"}, None),
        ({"X-Request-Id": "jnk0001abcd"}, None),
        ({"X-Request-Id": "former-key-0123456789"}, None),
        ({"X-Request-Id": "jnk-former-0123"}, "jnk-former-0123"),
        ({"X-Request-Id": "A_1_C_key_0123456789"}, None),
        ({}, None),
    ],
)
def test_what_is_an_id(headers: dict[str, str], found: str | None) -> None:
    """A word of ASCII that is no secret of the call, cut to 128 characters."""
    request = requests.get_key("JNK-0001-abcd")
    keys = ("current-key-0123456789", "former-key-0123456789", "a-1-c-key-0123456789")
    assert read_request_id(request, CIMultiDict(headers), *keys) == found


def fail(*steps: Step, watch: Watch, create: bool = False) -> JunkieError:
    """Make a call that fails, and return its error."""
    keys = Keys(make_dispatcher(Script(*steps), hooks=[watch]))

    async def main() -> Any:
        return await (keys.create(provider_id=1) if create else keys.get(1))

    with pytest.raises(JunkieError) as caught:
        run(main())
    return caught.value


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (404, b"{}", NotFoundError),
        (501, b"{}", ServerError),
        (200, b'{"key": 5}', InvalidResponseError),
        (200, b'{"key": null}', NotFoundError),
    ],
)
def test_an_error_has_it(status: int, body: bytes, error: type[JunkieError]) -> None:
    """Also in its text, and after it was pickled."""
    watch = Watch()
    failure = fail((status, {"CF-Ray": RAY}, body), watch=watch)
    assert type(failure) is error
    assert (failure.request_id, watch.seen) == (RAY, [RAY])
    assert str(failure).endswith(f"(request ID {RAY})")
    assert pickle.loads(pickle.dumps(failure)).request_id == RAY


def test_it_is_that_of_the_last_response() -> None:
    """An attempt without a response has none, and neither has its error."""
    watch, late = Watch(), RequestTimeoutError("late", transient=False)
    failure = fail((500, {"CF-Ray": RAY}, b""), late, watch=watch)
    assert (failure.request_id, watch.seen) == (None, [RAY, None])


def test_an_unknown_outcome_has_it() -> None:
    """It and its cause have the ID of the request that may have been carried out."""
    failure = fail((500, {"CF-Ray": RAY}, b""), watch=Watch(), create=True)
    assert isinstance(failure, OutcomeUnknownError)
    assert isinstance(failure.__cause__, ServerError)
    assert failure.request_id == failure.__cause__.request_id == RAY


def test_the_log_has_it(caplog: pytest.LogCaptureFixture) -> None:
    """The line of an attempt names it, if there is one."""
    status, _, body = GOOD
    dispatcher = make_dispatcher(Script((status, {"CF-Ray": RAY}, body), GOOD))

    async def main() -> None:
        await dispatcher.send(requests.list_folders())
        await dispatcher.send(requests.list_folders())

    with caplog.at_level(logging.DEBUG, "junkie_async"):
        run(main())
    lines = [record.getMessage() for record in caplog.records if record.name == "junkie_async"]
    assert [RAY in line for line in lines] == [True, False]
    assert [line.count("request ID") for line in lines] == [1, 0]
