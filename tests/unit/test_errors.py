"""The errors: their tree, attributes and texts, and that they survive pickling."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Iterator
from typing import Any

import pytest

import junkie_async
from junkie_async import (
    APIError,
    AuthenticationError,
    BadRequestError,
    BatchError,
    ClientClosedError,
    ConfigurationError,
    ConflictError,
    ConnectError,
    CreateReport,
    DriftError,
    InvalidRequestError,
    InvalidResponseError,
    JunkieError,
    Key,
    NotFoundError,
    Outcome,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    TooManyMatchesError,
    TransportError,
    _errors,
)
from junkie_async._jobs.record import LeaseLostError

TREE: dict[type[Exception], type[Exception]] = {
    InvalidRequestError: JunkieError,
    ConfigurationError: JunkieError,
    ClientClosedError: JunkieError,
    TransportError: JunkieError,
    ConnectError: TransportError,
    RequestTimeoutError: TransportError,
    OutcomeUnknownError: JunkieError,
    InvalidResponseError: JunkieError,
    APIError: JunkieError,
    BadRequestError: APIError,
    AuthenticationError: APIError,
    PermissionDeniedError: APIError,
    NotFoundError: APIError,
    ConflictError: APIError,
    RateLimitError: APIError,
    ServerError: APIError,
    DriftError: JunkieError,
    TooManyMatchesError: JunkieError,
    BatchError: JunkieError,
}

UNCERTAIN = {
    TransportError,
    RequestTimeoutError,
    OutcomeUnknownError,
    InvalidResponseError,
    ServerError,
    BatchError,
}
TRANSIENT = {TransportError, ConnectError, RequestTimeoutError, RateLimitError, ServerError}


def subclasses_of(cls: type[Exception]) -> Iterator[type[Exception]]:
    """Yield all subclasses of a class, each once."""
    seen = set()
    todo = [cls]
    while todo:
        for sub in todo.pop().__subclasses__():
            if sub not in seen:
                seen.add(sub)
                todo.append(sub)
                yield sub


def read_tree() -> dict[str, str]:
    """Read the tree in the module's docstring: each class's name and its parent's."""
    parents: dict[str, str] = {}
    path = ["JunkieError"]
    for line in (_errors.__doc__ or "").splitlines():
        if found := re.match(r"([│├└─ ]+)(\w+)", line):
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            parents[found[2]] = path[depth - 1]
    return parents


def test_tree() -> None:
    """The classes, the docstring's tree and the table agree; one class never leaves its job."""
    ours = [cls for cls in subclasses_of(JunkieError) if cls.__module__.startswith("junkie_async")]
    ours.remove(LeaseLostError)
    assert {cls: cls.__bases__[0] for cls in ours} == TREE
    assert read_tree() == {cls.__name__: parent.__name__ for cls, parent in TREE.items()}
    assert issubclass(InvalidRequestError, ValueError)
    assert all(getattr(junkie_async, cls.__name__) is cls for cls in TREE)


@pytest.mark.parametrize("cls", [JunkieError, *TREE])
def test_defaults(cls: type[JunkieError]) -> None:
    """Each class has its default outcome, and is transient or not."""
    error = cls()
    assert error.outcome is (Outcome.UNKNOWN if cls in UNCERTAIN else Outcome.NOT_EXECUTED)
    assert error.transient is (cls in TRANSIENT)
    assert (error.method, error.path, error.attempts, error.page) == (None, None, 0, None)


API: dict[str, Any] = {
    "outcome": Outcome.EXECUTED,
    "transient": False,
    "status": 429,
    "body": '{"error": "slow down"}',
    "headers": {"retry-after": "7"},
    "challenge": True,
    "retry_after": 7.0,
}
KEY = Key(id=7, key_value="JNK-0123456789")
SPECIMENS: list[JunkieError] = [
    InvalidRequestError("keys[3]", "'…'", "an ID"),
    InvalidResponseError(
        "bad row",
        outcome=Outcome.EXECUTED,
        transient=True,
        status=200,
        field="keys[3].id",
        row=3,
        rows=(KEY,),
    ),
    BatchError("ended early", CreateReport(requested=3, keys=("a", "b"), failed=1)),
    *(cls("words", **API) for cls in TREE if issubclass(cls, APIError)),
    *(cls("words", outcome=Outcome.EXECUTED, transient=True) for cls in (
        JunkieError, ConfigurationError, ClientClosedError, TransportError, ConnectError,
        RequestTimeoutError, OutcomeUnknownError, DriftError, TooManyMatchesError,
    )),
]  # fmt: skip


def test_specimens_are_complete() -> None:
    """Each class of the tree is pickled below."""
    assert {type(error) for error in SPECIMENS} == {JunkieError, *TREE}


@pytest.mark.parametrize("error", SPECIMENS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", [0, pickle.HIGHEST_PROTOCOL, None])
def test_survives_pickle_and_copy(error: JunkieError, protocol: int | None) -> None:
    """Pickled and copied errors keep their class, attributes and text."""
    error = copy.copy(error)
    error.method, error.path, error.attempts, error.page = "GET", "/keys", 3, 9
    twin = copy.deepcopy(error) if protocol is None else pickle.loads(pickle.dumps(error, protocol))
    assert type(twin) is type(error)
    assert vars(twin) == vars(error)
    assert twin.args == error.args
    assert str(twin) == str(error)
    assert (twin.outcome, twin.transient) == (error.outcome, error.transient)
    assert (twin.method, twin.path, twin.attempts, twin.page) == ("GET", "/keys", 3, 9)


@pytest.mark.parametrize("cls", [JunkieError, *TREE])
def test_bare_error_survives_pickle(cls: type[JunkieError]) -> None:
    """An error without arguments can be pickled, too."""
    twin = pickle.loads(pickle.dumps(cls()))
    assert type(twin) is cls
    assert vars(twin) == vars(cls())


def test_attributes() -> None:
    """Each class has the attributes that its docstring names."""
    refused, unreadable, ended, *denied = SPECIMENS[:10]
    assert isinstance(refused, InvalidRequestError)
    assert (refused.field, refused.value, refused.limit) == ("keys[3]", "'…'", "an ID")
    assert refused.message == str(refused) == "keys[3] must be an ID, got '…'"
    assert isinstance(unreadable, InvalidResponseError)
    assert (unreadable.status, unreadable.row, unreadable.rows) == (200, 3, (KEY,))
    assert unreadable.field == "keys[3].id"
    assert isinstance(ended, BatchError)
    assert ended.report == CreateReport(requested=3, keys=("a", "b"), failed=1)
    for error in denied:
        assert {name: getattr(error, name) for name in API} == API


def test_headers_are_a_copy() -> None:
    """A later change of the response's headers does not change the error."""
    headers = {"date": "now"}
    error = APIError("words", headers=headers)
    headers.clear()
    assert error.headers == {"date": "now"}


@pytest.mark.parametrize(
    ("method", "page", "attempts", "text"),
    [
        (None, None, 0, "words"),
        ("GET", None, 1, "GET /keys/{keyId}: words"),
        ("GET", 4, 1, "GET /keys/{keyId}: words (page 4)"),
        ("GET", None, 2, "GET /keys/{keyId}: words (after 2 attempts)"),
        ("GET", 4, 5, "GET /keys/{keyId}: words (page 4) (after 5 attempts)"),
    ],
)
def test_str(method: str | None, page: int | None, attempts: int, text: str) -> None:
    """An error's text names the call, the page and the number of attempts."""
    for error, more in ((JunkieError("words"), ""), (NotFoundError("words", status=404), " [404]")):
        error.method, error.path = method, "/keys/{keyId}"
        error.page, error.attempts = page, attempts
        assert str(error) == text + more
        assert error.message == "words"
