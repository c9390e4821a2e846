"""The client's configuration."""

from __future__ import annotations

import pytest

from junkie_async import ConfigurationError, InvalidRequestError, JunkieClient
from junkie_async.emulator import Emulator


async def test_the_environment_configures_it(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment gives the API key and the base URL when they are not passed."""
    monkeypatch.setenv("JUNKIE_API_KEY", "from-env")
    monkeypatch.setenv("JUNKIE_BASE_URL", emulator.url + "/")
    async with JunkieClient() as junkie:
        assert await junkie.keys.list().count() == 0
        assert "from-env" not in repr(junkie)
        assert emulator.url in repr(junkie)


def test_no_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an API key there is no client."""
    monkeypatch.delenv("JUNKIE_API_KEY", raising=False)
    with pytest.raises(ConfigurationError):
        JunkieClient()


@pytest.mark.parametrize("api_key", ["two words", "line\nbreak", "schlüssel", "\x00"])
def test_bad_api_keys_are_refused_and_not_shown(api_key: str) -> None:
    """A key that can't be sent in a header is refused, and not quoted."""
    with pytest.raises(ConfigurationError) as caught:
        JunkieClient(api_key)
    assert api_key not in str(caught.value)


@pytest.mark.parametrize(
    "base_url",
    [
        "ftp://127.0.0.1",
        "http://api.jnkie.com/api/v2",
        "http://10.0.0.1/api",
        "https://user:password@api.jnkie.com",
        "https://api.jnkie.com/?x=1",
        "https://",
        "not a url",
        "https://a..b",
        f"https://{'a' * 64}.example",
        "http://[::1",
    ],
)
def test_bad_base_urls(base_url: str) -> None:
    """Plain http is for loopback alone, and a base URL has no credentials, query or fragment."""
    with pytest.raises(ConfigurationError) as caught:
        JunkieClient("any", base_url=base_url)
    assert "user:password" not in str(caught.value)


@pytest.mark.parametrize(
    "base_url",
    ["http://localhost:1", "http://127.0.0.5:1/x", "http://[::1]:1", "https://a.example"],
)
def test_good_base_urls(base_url: str) -> None:
    """Loopback over http and any host over https are accepted."""
    assert base_url in repr(JunkieClient("any", base_url=base_url))


@pytest.mark.parametrize(
    ("field", "value"), [("timeout", 0), ("timeout", float("nan")), ("max_in_flight", 0)]
)
def test_limits(field: str, value: float) -> None:
    """Numbers are checked when they are passed in."""
    with pytest.raises(InvalidRequestError) as caught:
        JunkieClient("any", **{field: value})  # type: ignore[arg-type]
    assert caught.value.field == field
