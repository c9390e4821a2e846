"""aiohttp's errors as those of this package."""

from __future__ import annotations

import os

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


def translate_error(error: Exception, *, sent: bool) -> JunkieError:
    """Map aiohttp's error to one of this package; ``sent`` says whether the request was sent."""
    # The class's name alone: the text of aiohttp's errors may contain the URL, and so a key value.
    reason = type(error).__name__
    if isinstance(error, aiohttp.InvalidURL):
        return ConfigurationError("the base URL is not a valid URL")
    if isinstance(error, _TLS_ERRORS):
        reason = getattr(error, "strerror", None) or reason
        return ConnectError(f"the TLS handshake failed: {reason}", transient=False)
    if isinstance(error, aiohttp.ClientConnectorError):
        reason = _connect_reason(error)
        return ConnectError(f"could not connect to {error.host}:{error.port}: {reason}")
    if isinstance(error, aiohttp.ClientHttpProxyError):
        # A proxy that refuses (403) or wants credentials (407) will do so again.
        message = f"the proxy refused the connection with status {error.status}"
        return ConnectError(message, transient=error.status >= 500)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return ConnectError("could not connect: timed out")
    if not sent:
        return ConnectError(f"the connection was lost before the request was sent: {reason}")
    if isinstance(error, TimeoutError):
        return RequestTimeoutError("timed out before a full response")
    if isinstance(error, aiohttp.ClientPayloadError | HttpProcessingError):
        return TransportError("the response was cut short")
    if isinstance(error, aiohttp.ClientResponseError):
        return TransportError("the response was not HTTP")
    return TransportError(f"the connection was lost: {reason}")


def _connect_reason(error: aiohttp.ClientConnectorError) -> str:
    # asyncio's own text repeats the address, as in "Connect call failed ('127.0.0.1', 8080)". A
    # resolver's codes (EAI_*) are negative on Linux and have no text in `os.strerror`.
    if isinstance(error, aiohttp.ClientConnectorDNSError) or not error.errno:
        return error.strerror or type(error).__name__
    return os.strerror(error.errno).lower()
