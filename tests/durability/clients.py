"""Clients of the service, for tests in one process."""

from __future__ import annotations

from typing import Final

from junkie_async import JunkieClient, RetryPolicy

from .server import Service

SOON: Final = 20.0  # seconds, for what takes milliseconds on a quiet machine


def make_client(service: Service) -> JunkieClient:
    """Make a client of the service that gives up at once."""
    retry = RetryPolicy(attempts=1, outage=0.0)
    return JunkieClient("jk_test", base_url=service.url, retry=retry)
