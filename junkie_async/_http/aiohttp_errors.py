"""aiohttp's errors as those of this package."""

from __future__ import annotations

import os
import ssl
from typing import Any

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from .._errors import (
    ConfigurationError,
    ConnectError,
    JunkieError,
    RequestTimeoutError,
    TransportError,
)

_TLS_ERRORS = (
    aiohttp.ClientConnectorCertificateError,
    aiohttp.ClientConnectorSSLError,
    aiohttp.ServerFingerprintMismatch,
)

# OpenSSL's codes for a chain that ends in a CA which is not trusted (x509_vfy.h).
_UNKNOWN_CA = frozenset({2, 18, 19, 20, 21})

# OpenSSL's reasons for an answer that is not TLS, such as that of a plain HTTP server.
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})

# What it means that a proxy refuses CONNECT, and what to do.
_PROXY_REFUSALS = {
    403: "it does not allow connections to the service",
    407: "give the right user and password in its URL, http://user:password@host:port",
    502: "it could not connect to the service",
    503: "it could not connect to the service",
    504: "it could not connect to the service",
}


def translate_error(error: Exception, *, sent: bool, proxy: str = "") -> JunkieError:
    """Map aiohttp's error to one of this package.

    ``sent`` says whether the request was sent, and ``proxy`` is the address of the client's own.
    """
    # The class's name alone: the text of aiohttp's errors may contain the URL, and so a key value.
    reason = type(error).__name__
    via = f" through the proxy {proxy}" if proxy else ""
    if isinstance(error, aiohttp.InvalidURL):
        return ConfigurationError("the base URL is not a valid URL")
    if isinstance(error, _TLS_ERRORS):
        return ConnectError(_describe_tls_error(error), transient=False)
    if isinstance(error, aiohttp.ClientConnectorError):
        # aiohttp has a class for a proxy that refuses, but none for one whose name has no address.
        is_proxy = (
            isinstance(error, aiohttp.ClientProxyConnectionError)
            or f"{error.host}:{error.port}" == proxy
        )
        peer = f"{'the proxy ' if is_proxy else ''}{error.host}:{error.port}"
        return ConnectError(f"could not connect to {peer}: {_connect_reason(error)}")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _translate_proxy_error(error.status, proxy)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ConnectError(f"could not connect{via}: timed out")
    if not sent:
        return ConnectError(f"the connection{via} was lost before the request was sent: {reason}")
    if isinstance(error, TimeoutError):
        return RequestTimeoutError("timed out before a full response")
    if isinstance(error, aiohttp.ClientPayloadError | HttpProcessingError):
        return TransportError("the response was cut short")
    if isinstance(error, aiohttp.ClientResponseError):
        return TransportError("the response was not HTTP")
    return TransportError(f"the connection was lost: {reason}")


def _translate_proxy_error(status: int, proxy: str) -> ConnectError:
    message = f"the proxy{' ' * bool(proxy)}{proxy} refused the connection with status {status}"
    if meaning := _PROXY_REFUSALS.get(status):
        message += f": {meaning}"
    # One that wants credentials, or forbids the connection, will do so again.
    return ConnectError(message, transient=status >= 500 or status in (408, 429))


def _describe_tls_error(error: Any) -> str:
    message = f"the TLS handshake with {error.host}:{error.port} failed: "
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return message + _describe_certificate(cause)
    if getattr(cause, "reason", None) in _NO_TLS:
        return f"{message}no TLS is spoken there: should its URL begin with http://?"
    return message + (getattr(cause, "strerror", None) or type(error).__name__)


def _describe_certificate(error: ssl.SSLCertVerificationError) -> str:
    message = f"certificate refused: {getattr(error, 'verify_message', '') or error.strerror}"
    if getattr(error, "verify_code", None) not in _UNKNOWN_CA:
        return message
    return f"{message}. To trust its CA, pass the CA's file as ssl= (or --ca-file)"


def _connect_reason(error: aiohttp.ClientConnectorError) -> str:
    # asyncio's own text repeats the address, as in "Connect call failed ('127.0.0.1', 8080)". A
    # resolver's codes (EAI_*) are negative on Linux and have no text in `os.strerror`.
    if isinstance(error, aiohttp.ClientConnectorDNSError) or not error.errno:
        return error.strerror or type(error.os_error).__name__
    return os.strerror(error.errno).lower()
