"""Addresses of clients: read from text, and the networks that stand for them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address

_IPV4_BITS = 24
_IPV6_BITS = 48
_ANYWHERE = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.168.0.0/16", "224.0.0.0/3",
        "::/127", "fc00::/7", "fe80::/10", "ff00::/8",
    )
)  # fmt: skip
"""Networks that exist in many places at once (RFC 1918, 4193, 6598), or are no client's; the addresses for benchmarks
(198.18.0.0/15, RFC 2544) and for examples are in one place at a time, and count as any other."""


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
    if any(address in network for network in _ANYWHERE if network.version == address.version):
        return ""
    kind, bits = (IPv4Network, _IPV4_BITS) if isinstance(address, IPv4Address) else (IPv6Network, _IPV6_BITS)
    return str(kind((int(address), bits), strict=False))


def read_network(text: str) -> str:
    """The same for a text that names such a network already; "" for anything else."""
    base, _, bits = text.partition("/")
    address = read_address(base)
    if address is None or network_of(address) != text or not bits:
        return ""
    return text
