"""Which certificates are trusted: those of a context or CA file, or of the environment."""

from __future__ import annotations

import os
import ssl
from typing import Any

from .._errors import ConfigurationError, InvalidRequestError
from .._validation import safe_repr


def make_context(base_url: str, given: Any, *, trust_env: bool) -> ssl.SSLContext | None:
    """Return the context for the service and an https:// proxy; None for aiohttp's default.

    A CA file replaces the system's CAs, as with ``curl --cacert``, ``pip --cert``, and ``verify=``
    of requests.
    """
    if isinstance(given, ssl.SSLContext):
        if given.protocol is ssl.PROTOCOL_TLS_SERVER:
            raise ConfigurationError(
                "ssl= is a context for servers: make one with ssl.create_default_context()"
            )
        return given
    if isinstance(given, str | os.PathLike):
        return _load_file("the CA file", os.fspath(given))
    if given is not None:
        limit = "an ssl.SSLContext, the path of a CA file, or None"
        raise InvalidRequestError("ssl", safe_repr(given), limit)
    return _read_environment() if trust_env and base_url.startswith("https:") else None


def _read_environment() -> ssl.SSLContext | None:
    """Make a context of the present environment. aiohttp made its default when it was imported."""
    file = os.environ.get("SSL_CERT_FILE")
    if file:
        _load_file("$SSL_CERT_FILE", file)  # OpenSSL ignores one that it can't read
    elif not os.environ.get("SSL_CERT_DIR"):
        return None
    return _use_http1(ssl.create_default_context())


def _load_file(source: str, path: Any) -> ssl.SSLContext:
    if "-----BEGIN" in str(path):  # not repeated: a private key may be with it
        raise ConfigurationError(
            f"{source} is given as text: pass its path, or an ssl.SSLContext"
            " with load_verify_locations(cadata=...)"
        )
    try:
        if path:  # without one, Python would take the system's CAs
            return _use_http1(ssl.create_default_context(cafile=path))
        reason = "the path is empty"
    except ssl.SSLError:
        reason = "it has no valid certificate in PEM format"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except (ValueError, TypeError):  # a NUL or a lone surrogate, bytes of a PathLike
        reason = "not a valid path"
    raise ConfigurationError(f"can't load {source}, {ascii(path)[:200]}: {reason}")


def _use_http1(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_alpn_protocols(["http/1.1"])  # as aiohttp does: some servers insist on it
    return context
