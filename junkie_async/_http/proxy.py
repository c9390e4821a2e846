"""The proxy in front of the service: given, or of the environment; its credentials apart."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes
from urllib.request import getproxies, proxy_bypass

import attrs
from yarl import URL

from .._errors import ConfigurationError, InvalidRequestError
from .._validation import safe_repr

_EXAMPLE = "http://user:password@proxy.example:3128"
_HOST = r"[\w.:-]+"  # yarl also accepts blanks and broken escapes


@attrs.frozen
class Proxy:
    """A proxy: its URL without credentials, and the headers that contain them."""

    url: URL
    headers: Mapping[str, str] = attrs.field(repr=False)

    @property
    def address(self) -> str:
        """Its host and port, for messages."""
        return f"{self.url.host}:{self.url.port}"


def choose_proxy(base_url: str, given: Any, *, trust_env: bool) -> Proxy | None:
    """Return the proxy for the service: the given one, or that of the environment.

    A service on loopback, or over plain http, has none: it is an emulator. A proxy may not reach
    it, and would see the API key.
    """
    if not isinstance(given, str | None):
        raise InvalidRequestError("proxy", safe_repr(given), "a URL as a string, or None")
    service = URL(base_url)
    proxy = None if given is None else _read_proxy("the proxy", given)
    if service.scheme == "http" or is_loopback(service.host or ""):
        return None
    return _find_proxy(service) if proxy is None and trust_env else proxy


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _find_proxy(service: URL) -> Proxy | None:
    """Look up the environment's proxy, as `urllib` and aiohttp do.

    aiohttp would look for each request in a thread, skip https:// proxies, and take credentials
    from .netrc, for the service too.
    """
    if proxy_bypass(service.authority):  # with the port, as an entry of $NO_PROXY may have one
        return None
    proxies = getproxies()
    for name in ("https", "all"):
        if written := proxies.get(name):
            return _read_proxy(f"the proxy in ${name.upper()}_PROXY", written)
    return None


def _read_proxy(source: str, written: str) -> Proxy:
    # Many environments name it without a scheme.
    absolute = written if "://" in written else f"http://{written}"
    try:
        url = URL(absolute)
    except ValueError:  # whose text may contain the password
        url = None
    if url is not None and url.scheme.startswith("socks"):
        raise ConfigurationError(
            f"{source} is a SOCKS proxy, which is not supported: use an http:// or https:// one,"
            " or pass an aiohttp session with a SOCKS connector as session="
        )
    if url is None or url.scheme not in ("http", "https") or not _names_host(url):
        raise ConfigurationError(
            f"{source} must be an http:// or https:// URL, such as {_EXAMPLE}"
            " (in a password, write special characters percent-encoded)"
        )
    if url.raw_path not in ("", "/") or url.raw_query_string or url.raw_fragment:
        raise ConfigurationError(
            f"{source} must not have a path, query or fragment"
            " (in a password, write '/', '?' and '#' percent-encoded)"
        )
    return Proxy(url.with_user(None), _make_headers(source, url))


def _names_host(url: URL) -> bool:
    return bool(url.port and re.fullmatch(_HOST, url.raw_host or "", re.ASCII))


def _make_headers(source: str, url: URL) -> dict[str, str]:
    """Make the credentials' header. aiohttp's own refuses what Latin-1 does not have."""
    user, password = unquote_to_bytes(url.raw_user or ""), unquote_to_bytes(url.raw_password or "")
    if b":" in user:  # RFC 7617, section 2
        raise ConfigurationError(f"{source} must not have a colon in its user name")
    if not user and not password:
        return {}
    credentials = base64.b64encode(user + b":" + password).decode()
    return {"Proxy-Authorization": f"Basic {credentials}"}
