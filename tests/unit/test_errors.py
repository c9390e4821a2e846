"""The errors: their tree, words and way through pickle; and aiohttp's, put in our words."""

from __future__ import annotations

import copy
import pickle
import re
import ssl
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from aiohttp import client_exceptions
from aiohttp.client_reqrep import ConnectionKey, RequestInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

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
    TransportError,
    _errors,
)
from junkie_async._http.transport import _translate

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


def below(cls: type[Exception]) -> Iterator[type[Exception]]:
    """Walk all subclasses, each once."""
    seen = set()
    todo = [cls]
    while todo:
        for sub in todo.pop().__subclasses__():
            if sub not in seen:
                seen.add(sub)
                todo.append(sub)
                yield sub


def drawn() -> dict[str, str]:
    """Read the tree in the module's docstring: each name with its parent's."""
    parents: dict[str, str] = {}
    path = ["JunkieError"]
    for line in (_errors.__doc__ or "").splitlines():
        if found := re.match(r"([│├└─ ]+)(\w+)", line):
            depth = len(found[1]) // 4
            path[depth:] = [found[2]]
            parents[found[2]] = path[depth - 1]
    return parents


def test_tree() -> None:
    """The classes, their drawing and the design agree on who is whose parent."""
    ours = [cls for cls in below(JunkieError) if cls.__module__.startswith("junkie_async")]
    assert {cls: cls.__bases__[0] for cls in ours} == TREE
    assert drawn() == {cls.__name__: parent.__name__ for cls, parent in TREE.items()}
    assert issubclass(InvalidRequestError, ValueError)
    assert all(getattr(junkie_async, cls.__name__) is cls for cls in TREE)


@pytest.mark.parametrize("cls", [JunkieError, *TREE])
def test_defaults(cls: type[JunkieError]) -> None:
    """A bare error says of its class whether the call was carried out, and may be made again."""
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
        RequestTimeoutError, OutcomeUnknownError, DriftError,
    )),
]  # fmt: skip


def test_specimens_are_complete() -> None:
    """No class of the tree is missing from what is pickled below."""
    assert {type(error) for error in SPECIMENS} == {JunkieError, *TREE}


@pytest.mark.parametrize("error", SPECIMENS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("protocol", [0, pickle.HIGHEST_PROTOCOL, None])
def test_survives_pickle_and_copy(error: JunkieError, protocol: int | None) -> None:
    """Every error comes out of pickle, and of a copy, with all that it knew."""
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
    """An error without arguments is as good as any other."""
    twin = pickle.loads(pickle.dumps(cls()))
    assert type(twin) is cls
    assert vars(twin) == vars(cls())


def test_attributes() -> None:
    """Each class has the attributes that its docstring names, as they were given."""
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
    """What happens to the answer's headers later does not happen to the error."""
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
    """An error's text names the call, the page and the attempts where there were any."""
    for error, more in ((JunkieError("words"), ""), (NotFoundError("words", status=404), " [404]")):
        error.method, error.path = method, "/keys/{keyId}"
        error.page, error.attempts = page, attempts
        assert str(error) == text + more
        assert error.message == "words"


# --- aiohttp's errors ---------------------------------------------------------------------------

TOKEN = "Bearer t0ken-of-the-caller"  # an API key in disguise
PEER = ConnectionKey(
    host="h", port=443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
)
REQUEST = RequestInfo(
    url=URL("https://h/keys/secret"),
    method="GET",
    headers=CIMultiDictProxy(CIMultiDict({"Authorization": TOKEN})),
    real_url=URL("https://h/keys/secret"),
)
AIOHTTP = sorted(
    (cls for cls in below(aiohttp.ClientError) if cls.__module__.startswith("aiohttp")),
    key=lambda cls: cls.__name__,
)
TLS = (
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ClientConnectorSSLError,
    aiohttp.ServerFingerprintMismatch,
)
UNCONNECTED = (*TLS, aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)


def specimen(cls: type[Any]) -> Exception:
    """Make an error of aiohttp's as aiohttp would."""
    if issubclass(cls, aiohttp.ClientResponseError):
        error: Exception = cls(REQUEST, (), status=400, headers=REQUEST.headers)
    elif issubclass(cls, client_exceptions.UnixClientConnectorError):
        error = cls("/socket", PEER, ConnectionRefusedError(111, "refused"))
    elif issubclass(cls, aiohttp.ClientConnectorCertificateError):
        error = cls(PEER, ssl.SSLCertVerificationError(1, "self-signed"))
    elif issubclass(cls, aiohttp.ClientConnectorError):
        error = cls(PEER, ConnectionRefusedError(111, "refused"))
    elif issubclass(cls, aiohttp.ServerFingerprintMismatch):
        error = cls(b"a", b"b", "h", 443)
    elif issubclass(cls, aiohttp.InvalidURL):
        error = cls("https://h/keys/secret")
    else:
        error = cls("words")
    return error


def expected(error: Exception, *, sent: bool | None) -> type[JunkieError]:
    """Name the class that FAULTS.md asks for."""
    if isinstance(error, aiohttp.InvalidURL):
        return ConfigurationError
    if isinstance(error, UNCONNECTED) or sent is False:
        return ConnectError
    return RequestTimeoutError if isinstance(error, TimeoutError) else TransportError


@pytest.mark.parametrize("sent", [None, True, False])
@pytest.mark.parametrize("cls", [*AIOHTTP, aiohttp.ClientError, TimeoutError, ConnectionResetError])
def test_translate(cls: type[Exception], *, sent: bool | None) -> None:
    """Every error that aiohttp knows becomes one of ours, and takes no secret along."""
    error = specimen(cls)
    ours = _translate(error, sent)
    assert type(ours) is expected(error, sent=sent)
    certain = isinstance(ours, ConnectError | ConfigurationError)
    assert ours.outcome is (Outcome.NOT_EXECUTED if certain else Outcome.UNKNOWN)
    assert ours.transient is not isinstance(error, (*TLS, aiohttp.InvalidURL))
    assert ours.message
    assert not re.search(r"t0ken|secret|Authorization", f"{ours!r} {ours}", re.IGNORECASE)
    assert (ours.__cause__, ours.__context__) == (None, None)


def test_walk_finds_aiohttps_errors() -> None:
    """The walk above is not empty, and reaches the leaves."""
    assert len(AIOHTTP) > 20
    assert {aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorDNSError} <= set(AIOHTTP)
