"""Keys looked up by their value: how many requests that takes, and how long one may wait."""

from __future__ import annotations

import math
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import pytest

from junkie_async import (
    BatchError,
    InvalidRequestError,
    Key,
    Keys,
    NotFoundError,
    Outcome,
    RetryPolicy,
    TooManyMatchesError,
    VerdictReason,
)
from junkie_async._http.transport import Response

from .clock import run
from .scripted import Script, make_dispatcher

CALLS: dict[str, Callable[[Keys, str], Coroutine[Any, Any, Any]]] = {
    "find": lambda keys, value: keys.find(value),
    "verify": lambda keys, value: keys.verify(value),
    "get": lambda keys, value: keys.get(value),
    "update": lambda keys, value: keys.update(value, is_premium=True),
    "invalidate": lambda keys, value: keys.invalidate(value),
    "revalidate": lambda keys, value: keys.revalidate(value),
    "delete": lambda keys, value: keys.delete(value),
    "reset_hwid": lambda keys, value: keys.reset_hwid(value),
}
NAMES = {"find": "GET /keys", "update": "PUT", "invalidate": "PUT", "revalidate": "PUT"}
NAMES |= {"delete": "DELETE", "reset_hwid": "POST"}


def page(number: int, *values: str, pages: int | None) -> Response:
    """Make a page of 100 keys whose values contain a 7, the given ones first."""
    others = [f"JNK-7-{number}-{row}" for row in range(100 - len(values))]
    rows = [
        {"id": number * 100 + row, "key_value": value}
        for row, value in enumerate([*values, *others] if number <= (pages or number) else [])
    ]
    stated = {"page": number, "limit": 100}
    if pages is not None:
        stated |= {"total": 100 * pages, "totalPages": pages}
    body = msgspec.json.encode({"keys": rows, "pagination": stated})
    return 200, {}, body


def call(name: str, *answers: Response, value: str = "7") -> tuple[Any, Script]:
    """Make a call over a script; return its value, or the error that it raised."""
    script = Script(*answers)
    results: list[Any] = []

    async def main() -> None:
        keys = Keys(make_dispatcher(script, RetryPolicy(attempts=1)))
        try:
            results.append(await CALLS[name](keys, value))
        except (NotFoundError, TooManyMatchesError) as error:
            results.append(error)

    run(main())
    return results[0], script


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("pages", [6, 2000, None])
def test_a_value_that_others_contain_is_not_looked_for_in_the_whole_shop(
    name: str, pages: int | None
) -> None:
    """After five pages of partial matches the call ends, with an error that names it."""
    answers = [page(number, pages=pages) for number in range(1, 8)]
    error, script = call(name, *answers)
    assert type(error) is TooManyMatchesError
    assert len(script.began) == 5
    assert (error.outcome, error.transient) == (Outcome.NOT_EXECUTED, False)
    assert f"{error.method} {error.path}".startswith(NAMES.get(name, "GET /keys/{keyId}"))


@pytest.mark.parametrize("name", CALLS)
def test_five_pages_are_looked_through(name: str) -> None:
    """Of exactly 500 partial matches each is compared. The sixth page proves that they are all."""
    result, script = call(name, *(page(number, pages=5) for number in range(1, 7)))
    assert len(script.began) == 6
    if name == "find":
        assert result is None
    elif name == "verify":
        assert result.reason is VerdictReason.NOT_FOUND
    else:
        assert type(result) is NotFoundError


@pytest.mark.parametrize("pages", [5, 2000, None])
def test_a_match_on_the_fifth_page_is_found(pages: int | None) -> None:
    """It may be the last page, or there may be more."""
    answers = [page(number, pages=pages) for number in range(1, 5)]
    found, script = call("find", *answers, page(5, "7", pages=pages))
    assert isinstance(found, Key)
    assert (found.id, found.key_value, len(script.began)) == (500, "7", 5)


@pytest.mark.parametrize("name", CALLS)
def test_a_look_up_is_interactive(name: str) -> None:
    """Its requests have the call's deadline; those of a walk wait for a slot without one."""
    _, script = call(name, *(page(number, pages=5) for number in range(1, 7)))
    assert all(math.isfinite(left) for _, left in script.began)


TOO_LONG: dict[str, Callable[[Keys, str], Any]] = {
    **{name: call for name, call in CALLS.items() if name != "verify"},
    "list": lambda keys, value: keys.list(key=value),
    "bulk_delete": lambda keys, value: keys.bulk_delete([5, value]),
    "delete_many": lambda keys, value: keys.delete_many([5, value]),
    "delete_many, read": lambda keys, value: keys.delete_many(iter([value])),
}


@pytest.mark.parametrize("name", TOO_LONG)
def test_a_value_that_is_too_long_is_not_sent(name: str) -> None:
    """1024 characters are the limit, wherever a key value is given; `verify` says NOT_FOUND."""
    script = Script()

    async def main() -> None:
        await TOO_LONG[name](Keys(make_dispatcher(script)), "7" * 1025)

    with pytest.raises((InvalidRequestError, BatchError)) as caught:
        run(main())
    refused = caught.value.__cause__ or caught.value
    assert isinstance(refused, InvalidRequestError)
    assert refused.field in ("key", "key_value", "keys[0]", "keys[1]")
    assert script.began == []


def test_so_is_the_list_that_settles_a_404() -> None:
    """A gateway may have answered it, so `verify` asks the list."""
    gone: Response = (404, {}, b'{"error": "Key not found"}')
    verdict, script = call("verify", gone, page(1, pages=2000), value="JNK-7")
    assert verdict.reason is VerdictReason.NOT_FOUND
    assert [math.isfinite(left) for _, left in script.began] == [True, True]
