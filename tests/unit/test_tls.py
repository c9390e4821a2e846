"""Which certificates a client trusts: those of its CA file, its context, or the environment."""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
import trustme

from junkie_async import ConfigurationError, InvalidRequestError, JunkieClient
from junkie_async._http.tls import make_context

SERVICE = "https://keys.example"


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with one CA."""
    path = tmp_path_factory.mktemp("tls") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("kind", [str, Path])
def test_a_ca_file_replaces_the_systems(ca_file: Path, kind: type[Any]) -> None:
    """Its CAs are the only ones; certificates and host names are checked."""
    context = make_context(SERVICE, kind(ca_file), trust_env=False)
    assert context is not None
    assert len(context.get_ca_certs()) == 1
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


def test_a_context_is_used_as_it_is(ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that trusts the system's CAs and others, and before the environment's."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    context = ssl.create_default_context()
    context.load_verify_locations(ca_file)
    assert make_context(SERVICE, context, trust_env=True) is context
    assert make_context(SERVICE, ca_file, trust_env=True) is not None


@pytest.mark.parametrize(
    "content",
    [b"", b"certificate", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
    ids=["empty", "text", "broken"],
)
def test_a_broken_file_is_refused(content: bytes, tmp_path: Path) -> None:
    """The error names it."""
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        JunkieClient("k", base_url=SERVICE, ssl=path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("path", ["nowhere.pem", ".", "", "a\0b", "x" * 5000, "\udc80\n"])
def test_a_file_that_is_none_is_refused(path: str) -> None:
    """The error names it, on one line of bounded length."""
    with pytest.raises(ConfigurationError) as caught:
        JunkieClient("k", base_url=SERVICE, ssl=path)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable()


@pytest.mark.skipif(
    sys.platform == "win32" or not os.geteuid(), reason="root and Windows may read it"
)
def test_a_file_that_may_not_be_read(ca_file: Path, tmp_path: Path) -> None:
    """It is refused when the client is made."""
    path = tmp_path / "ca.pem"
    path.write_bytes(ca_file.read_bytes())
    path.chmod(0)
    with pytest.raises(ConfigurationError):
        JunkieClient("k", base_url=SERVICE, ssl=path)


def test_the_text_of_a_certificate_is_no_path(ca_file: Path) -> None:
    """It is not repeated: a private key may be with it."""
    with pytest.raises(ConfigurationError) as caught:
        JunkieClient("k", base_url=SERVICE, ssl=ca_file.read_text())
    assert "BEGIN" not in str(caught.value)


def test_a_servers_context_is_refused() -> None:
    """It could not connect."""
    with pytest.raises(ConfigurationError):
        JunkieClient("k", base_url=SERVICE, ssl=ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))


@pytest.mark.parametrize("value", [False, True, b"ca.pem", 1])
def test_other_types_are_refused(value: Any) -> None:
    """`False` of aiohttp's is one: certificates are always checked, unless a context does not."""
    with pytest.raises(InvalidRequestError) as caught:
        JunkieClient("k", base_url=SERVICE, ssl=value)
    assert caught.value.field == "ssl"


def test_the_environments_ca_file(ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is loaded when asked for; without one, aiohttp's context is used."""
    assert make_context(SERVICE, None, trust_env=True) is None
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    context = make_context(SERVICE, None, trust_env=True)
    assert context is not None
    ours = ssl.PEM_cert_to_DER_cert(ca_file.read_text())
    assert ours in context.get_ca_certs(binary_form=True)
    assert make_context(SERVICE, None, trust_env=False) is None


def test_the_environments_ca_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder is for OpenSSL, which reads it when it needs a CA."""
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert make_context(SERVICE, None, trust_env=True) is not None


def test_the_environments_missing_ca_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused by its name, as OpenSSL would ignore it; plain http needs none."""
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    with pytest.raises(ConfigurationError) as caught:
        JunkieClient("k", base_url=SERVICE, trust_env=True)
    assert "$SSL_CERT_FILE" in str(caught.value)
    JunkieClient("k", base_url="http://127.0.0.1:9", trust_env=True)
