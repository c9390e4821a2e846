"""Plain http: on loopback, and with a test key to a host that can only be in the same network."""

from __future__ import annotations

import pytest

from junkie_async import ConfigurationError, JunkieClient
from junkie_async._http.plain_http import is_private

PRIVATE = [
    *("junkie", "Junkie", "junkie.", "junkie-1", "s3", "junkie.shop.svc.cluster.local"),
    *("host.docker.internal", "keys.test", "10.1.2.3", "172.16.0.1", "172.31.255.255"),
    *("192.168.1.9", "fd00::1"),
]
PUBLIC = [
    *("api.jnkie.com", "junkie.example", "local.example", "internal.com", "8.8.8.8"),
    *("172.32.0.1", "192.167.1.1", "169.254.169.254", "0.0.0.0", "2001:db8::1", "::"),
    *("fe80::1", "::ffff:10.0.0.1", "3221226219", "0xC0000233", "1.1", ""),
]


@pytest.mark.parametrize("host", PRIVATE)
def test_private_hosts(host: str) -> None:
    """Names that no public DNS server has, and addresses that are not routed."""
    assert is_private(host)


@pytest.mark.parametrize("host", PUBLIC)
def test_public_hosts(host: str) -> None:
    """All others; a number is an address to a resolver."""
    assert not is_private(host)


@pytest.mark.parametrize("host", ["junkie:8000", "10.1.2.3", "[fd00::1]:80", "keys.internal"])
def test_a_test_key_may_be_sent_to_a_private_host(host: str) -> None:
    """As compose and CI services are reached."""
    junkie = JunkieClient("test-ci", base_url=f"http://{host}/api/v2")
    assert junkie.base_url.startswith("http://")


@pytest.mark.parametrize(
    ("host", "api_key"),
    [
        ("junkie:8000", "3c0f2b9e-0000-4000-8000-000000000000"),
        ("junkie:8000", "Test-ci"),
        ("10.1.2.3", "atest-ci"),
        ("api.jnkie.com", "test-ci"),
        ("8.8.8.8", "test-ci"),
    ],
)
def test_all_else_is_refused(host: str, api_key: str) -> None:
    """A real key never goes over plain http, and a test key goes to no public host."""
    with pytest.raises(ConfigurationError) as caught:
        JunkieClient(api_key, base_url=f"http://{host}/api/v2")
    assert api_key not in str(caught.value)


def test_a_test_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of a compose file are enough."""
    monkeypatch.setenv("JUNKIE_BASE_URL", "http://junkie:8000/api/v2")
    monkeypatch.setenv("JUNKIE_API_KEY", "test-ci")
    assert JunkieClient().base_url == "http://junkie:8000/api/v2"
