"""Where requests may go over plain http, which everybody on the way can read."""

from __future__ import annotations

import ipaddress
from typing import Final

from .proxy import is_loopback

TEST_KEY_PREFIX: Final = "test-"
"""How an API key begins that opens nothing but an emulator. The service's own keys are UUIDs."""

_PRIVATE_NETWORKS: Final = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
)
# RFC 6761, RFC 6762 and ICANN's reservation of 2024: no public DNS server has such names.
_PRIVATE_SUFFIXES: Final = (".internal", ".local", ".localhost", ".test")


def is_allowed(host: str, api_key: object) -> bool:
    """Whether plain http may be used: on loopback, and in a private network with a test key.

    A test key is no secret. The host must be private nonetheless, since requests have key values
    and HWIDs too: a base URL of the real service that lacks its "s" is still refused.
    """
    return is_loopback(host) or (is_private(host) and _is_test_key(api_key))


def is_private(host: str) -> bool:
    """Whether a host can only be in the same network: a container, a service of a cluster."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.lower().rstrip(".")
        # Resolvers read "3221226219" and "0xC0000233" as IPv4 addresses.
        return name[:1].isalpha() and ("." not in name or name.endswith(_PRIVATE_SUFFIXES))
    return any(address in network for network in _PRIVATE_NETWORKS)


def _is_test_key(api_key: object) -> bool:
    return isinstance(api_key, str) and api_key.startswith(TEST_KEY_PREFIX)
