"""Which proxy a client uses: its URL is checked, its credentials are kept apart."""

from __future__ import annotations

import base64
import traceback
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from junkie_async import ConfigurationError, InvalidRequestError, JunkieClient
from junkie_async._http.proxy import Proxy, choose_proxy

SERVICE = "https://keys.example/api/v2"
GIVEN = "http://proxy.example:3128"
PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def choose(given: Any = None, *, service: str = SERVICE, trust_env: bool = True) -> Proxy | None:
    """Choose the proxy for a service."""
    return choose_proxy(service, given, trust_env=trust_env)


def address(given: Any = None, *, service: str = SERVICE, trust_env: bool = True) -> str | None:
    """Return the URL of the proxy for a service."""
    proxy = choose(given, service=service, trust_env=trust_env)
    return None if proxy is None else str(proxy.url)


@pytest.mark.parametrize(
    ("written", "url", "credentials"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128", None),
        ("https://proxy.example/", "https://proxy.example/", None),
        ("proxy.example:3128", "http://proxy.example:3128", None),
        ("HTTP://Proxy.Example:3128", "http://proxy.example:3128", None),
        ("http://[::1]:3128", "http://[::1]:3128", None),
        ("http://me:pw@proxy.example", "http://proxy.example", b"me:pw"),
        ("me:pw@proxy.example:1", "http://proxy.example:1", b"me:pw"),
        ("http://me@proxy.example", "http://proxy.example", b"me:"),
        ("http://me:p%40%2F%3a%25@proxy.example", "http://proxy.example", b"me:p@/:%"),
        ("http://me:p@ss%w@proxy.example", "http://proxy.example", b"me:p@ss%w"),
        ("http://m%C3%A9:пароль@proxy.example", "http://proxy.example", "mé:пароль".encode()),
    ],
)
def test_a_proxy_and_its_credentials(written: str, url: str, credentials: bytes | None) -> None:
    """The URL that aiohttp gets, and shows in its errors, has no credentials."""
    proxy = choose(written)
    assert proxy is not None
    assert str(proxy.url).rstrip("/") == url.rstrip("/")
    header = proxy.headers.get("Proxy-Authorization")
    if credentials is None:
        assert header is None
    else:
        assert header is not None
        assert base64.b64decode(header.removeprefix("Basic ")) == credentials
    assert "pw" not in repr(proxy)
    assert "Basic" not in repr(proxy)


REFUSED = [
    "",
    "http://",
    "ftp://proxy.example",
    "socks5://me:s3cret@proxy.example:1080",
    "http://proxy.example:0",
    "http://me:s3cret@pro xy:3128",
    "http://me:s3cret@proxy.example:99999",
    "http://me:s3cret@proxy.example:port",
    "http://me:s3cret/x@proxy.example:3128",
    "http://me:3128/s3cret@proxy.example:3128",
    "http://me:s3cret@proxy.example/proxy.pac",
    "http://me:s3cret@proxy.example?x=1",
    "http://me:s3cret@proxy.example#x",
    "http://m%3Ae:s3cret@proxy.example",
]


@pytest.mark.parametrize("source", ["argument", "environment"])
@pytest.mark.parametrize("written", REFUSED)
def test_other_proxies_are_refused(
    written: str, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has no password: not in its text, its chain or its frames."""
    arguments: dict[str, Any] = {"proxy": written}
    if source == "environment":
        monkeypatch.setenv("https_proxy", written or "http://")
        arguments = {"trust_env": True}
    with pytest.raises(ConfigurationError) as caught:
        JunkieClient("k", base_url=SERVICE, **arguments)
    del arguments
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    below = [frame for frame in shown.stack if frame.filename != __file__]
    assert below
    assert "s3cret" not in f"{caught.value}{[frame.locals for frame in below]}"
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize("value", [3128, b"http://me:pw@h", URL("http://me:pw@h"), ["me:pw@h"]])
def test_a_proxy_is_a_string(value: Any) -> None:
    """Another type is named, and its value is not shown."""
    with pytest.raises(InvalidRequestError) as caught:
        JunkieClient("k", base_url=SERVICE, proxy=value)
    assert caught.value.field == "proxy"
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": GIVEN}, GIVEN),
        ({"https_proxy": GIVEN}, GIVEN),
        ({"HTTPS_PROXY": "proxy.example:3128"}, GIVEN),
        ({"HTTPS_PROXY": "https://proxy.example:3128"}, "https://proxy.example:3128"),
        ({"ALL_PROXY": GIVEN}, GIVEN),
        ({"ALL_PROXY": "socks5://127.0.0.1:1080", "HTTPS_PROXY": GIVEN}, GIVEN),
        ({"HTTP_PROXY": GIVEN}, None),
        ({"HTTPS_PROXY": ""}, None),
        ({"HTTPS_PROXY": GIVEN, "NO_PROXY": "*"}, None),
        ({"HTTPS_PROXY": GIVEN, "NO_PROXY": "keys.example"}, None),
        ({"HTTPS_PROXY": GIVEN, "NO_PROXY": "a.test, .example"}, None),
        ({"HTTPS_PROXY": GIVEN, "no_proxy": "KEYS.EXAMPLE:443"}, None),
        ({"HTTPS_PROXY": GIVEN, "NO_PROXY": "ys.example,keys"}, GIVEN),
    ],
)
def test_the_environments_proxy(
    environment: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is obeyed if asked for; a given proxy comes first."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert address() == expected
    assert address(trust_env=False) is None
    other = "http://other.example:1"
    assert address(other) == other


def test_no_proxy_with_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry with a port is for that port alone."""
    monkeypatch.setenv("HTTPS_PROXY", GIVEN)
    monkeypatch.setenv("NO_PROXY", "keys.example:8443")
    assert address(service="https://keys.example:8443") is None
    assert address(service="https://keys.example") == GIVEN


def test_no_proxy_with_an_ipv6_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written without brackets."""
    monkeypatch.setenv("HTTPS_PROXY", GIVEN)
    monkeypatch.setenv("NO_PROXY", "fd00::5")
    assert address(service="https://[fd00::5]:8443") is None
    assert address(service="https://[fd00::6]:8443") == GIVEN


@pytest.mark.parametrize(
    "service",
    [
        "http://localhost:8777",
        "http://127.0.0.1",
        "http://[::1]:1",
        "https://127.1.2.3",
        "http://junkie:8777",  # `junkie serve` beside an app, in compose
    ],
)
def test_an_emulator_is_called_directly(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy sees the requests to an emulator, however it was set; its URL is checked."""
    for name in PROXY_VARIABLES[:3]:
        monkeypatch.setenv(name, GIVEN)
    assert address(service=service) is None
    assert address(GIVEN, service=service) is None
    with pytest.raises(ConfigurationError):
        choose("http://", service=service)


@pytest.mark.parametrize("name", ["proxy", "ssl", "trust_env"])
async def test_a_session_has_its_own(name: str, tmp_path: Path) -> None:
    """With session=, the arguments about connections are refused."""
    values = {"proxy": GIVEN, "ssl": tmp_path, "trust_env": True}
    async with aiohttp.ClientSession() as session:
        JunkieClient("k", base_url=SERVICE, session=session, proxy=None, ssl=None, trust_env=False)
        with pytest.raises(ConfigurationError) as caught:
            JunkieClient("k", base_url=SERVICE, session=session, **{name: values[name]})  # type: ignore[arg-type]
    assert f"{name}=" in str(caught.value)
