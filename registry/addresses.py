"""Addresses of clients: read from text, and the networks that stand for them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

_IPV4_BITS = 24
_IPV6_BITS = 48
_REST_BITS = 128 - _IPV6_BITS
_ANYWHERE = {
    version: [
        (int(network.network_address), int(network.broadcast_address))
        for network in map(ip_network, networks)
    ]
    for version, networks in {
        4: ("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.168.0.0/16", "224.0.0.0/3"),
        6: ("::/127", "fc00::/7", "fe80::/10", "ff00::/8"),
    }.items()
}  # fmt: skip
"""First and last of networks that exist in many places at once (RFC 1918, 4193, 6598), or are no client's; the
addresses for benchmarks (198.18.0.0/15, RFC 2544) and for examples are in one place at a time, and count as any other.
"""


def read_address(text: str) -> Address | None:
    """The address that a text is; an IPv4 address within IPv6 (`::ffff:192.0.2.1`) as what it is; None for others."""
    try:
        address = ip_address(text.partition("%")[0].strip("[] "))
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def network_of(address: Address) -> str:
    """The /24 or /48 that an address is in, canonical; "" for one that says nothing of where its client is."""
    number = int(address)
    if any(first <= number <= last for first, last in _ANYWHERE[address.version]):
        return ""
    if isinstance(address, IPv4Address):
        return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.0/{_IPV4_BITS}"
    return f"{IPv6Address(number >> _REST_BITS << _REST_BITS)}/{_IPV6_BITS}"
