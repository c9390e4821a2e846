"""aiohttp's errors become the package's, without its texts, which may have secrets in them."""

from __future__ import annotations

import re
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp import client_exceptions
from aiohttp.client_reqrep import ConnectionKey, RequestInfo
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from junkie_async import (
    ConfigurationError,
    ConnectError,
    JunkieError,
    Outcome,
    RequestTimeoutError,
    TransportError,
)
from junkie_async._http.aiohttp_errors import translate_error

from .test_errors import subclasses_of

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
    (cls for cls in subclasses_of(aiohttp.ClientError) if cls.__module__.startswith("aiohttp")),
    key=lambda cls: cls.__name__,
)
TLS = (
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ClientConnectorSSLError,
    aiohttp.ServerFingerprintMismatch,
)
UNCONNECTED = (
    *TLS,
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
)
FINAL = (*TLS, aiohttp.ClientHttpProxyError, aiohttp.InvalidURL)  # the proxy answers 400


def make_error(cls: type[Any]) -> Exception:
    """Make an error as aiohttp would."""
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


def expected(error: Exception, *, sent: bool) -> type[JunkieError]:
    """Name the class that the fault table asks for."""
    if isinstance(error, aiohttp.InvalidURL):
        return ConfigurationError
    if isinstance(error, UNCONNECTED) or not sent:
        return ConnectError
    return RequestTimeoutError if isinstance(error, TimeoutError) else TransportError


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("cls", [*AIOHTTP, aiohttp.ClientError, TimeoutError, ConnectionResetError])
def test_translate_error(cls: type[Exception], *, sent: bool) -> None:
    """Each of aiohttp's errors becomes one of ours, and takes no secret along."""
    error = make_error(cls)
    ours = translate_error(error, sent=sent)
    assert type(ours) is expected(error, sent=sent)
    certain = isinstance(ours, ConnectError | ConfigurationError)
    assert ours.outcome is (Outcome.NOT_EXECUTED if certain else Outcome.UNKNOWN)
    assert ours.transient is not isinstance(error, FINAL)
    assert ours.message
    assert not re.search(r"t0ken|secret|Authorization", f"{ours!r} {ours}", re.IGNORECASE)
    assert (ours.__cause__, ours.__context__) == (None, None)


def test_aiohttps_errors_are_found() -> None:
    """The list of aiohttp's errors is not empty, and has the most special ones."""
    assert len(AIOHTTP) > 20
    assert {aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorDNSError} <= set(AIOHTTP)
