"""Fixtures of the command line's tests."""

import functools
import socket
from collections.abc import Iterator

import pytest

from junkie_async import RetryPolicy


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands retry without waiting in between."""
    quick = functools.partial(
        RetryPolicy, attempts=3, wait_initial=0.001, wait_max=0.001, wait_jitter=0.0
    )
    monkeypatch.setattr("junkie_async.cli._client.RetryPolicy", quick)


@pytest.fixture
def closed_url() -> Iterator[str]:
    """The URL of a port where connections are refused."""
    with socket.socket() as free:  # bound and not listening, so that no other process takes it
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}"
