"""For whom a connection counts: an address, or the network in which one host may take any."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

NETWORK_BITS = 64
"""What providers give to one customer at the least (RFC 6177): each has 2^64 addresses in it."""

RECENT = 1024
"""Addresses that are not looked at again: to read one takes longer than to look it up."""


@lru_cache(RECENT)
def peer_name(address: str) -> str:
    """Return the peer of an address as the socket names it; what is no IP address is its own.

    Addresses of a link (fe80::) stand for themselves: all hosts of the link share that network.
    """
    parsed = _parsed(address)
    if not isinstance(parsed, IPv6Address) or parsed.is_loopback or parsed.is_link_local:
        return address if parsed is None else str(parsed)
    return str(IPv6Network((int(parsed), NETWORK_BITS), strict=False))


@lru_cache(RECENT)
def is_this_machine(peer: str) -> bool:
    """Tell whether a peer is the machine that llmctl runs on."""
    parsed = _parsed(peer)
    return parsed is not None and parsed.is_loopback


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed
