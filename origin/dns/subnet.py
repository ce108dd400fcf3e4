"""Whom an answer is for: the network of a client, from EDNS client subnet (RFC 7871) or from who asks.

A client's network is kept as `family, prefix bits, address bytes`, no longer than /24 or /48: that is what a place or
a learned round trip is known for, and what keeps answers few.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import NamedTuple

OPTION_SUBNET = 8
FAMILY_V4, FAMILY_V6 = 1, 2
KEPT_BITS = {FAMILY_V4: 24, FAMILY_V6: 48}
_WIDTH_BITS = {FAMILY_V4: 32, FAMILY_V6: 128}
_HEAD_BYTES = 4

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Subnet(NamedTuple):
    """A client subnet option.

    Attributes:
        data: as it came, its scope 0.
        client: the network to answer for; empty when the client asks not to be looked at.
    """

    data: bytes
    client: bytes


def read_subnet(data: bytes) -> Subnet | None:
    """The option; None when it breaks RFC 7871 section 6, which is answered with FORMERR.

    A source prefix of 0 says: do not use my address. `dig +subnet=0` writes that with the family 0.
    """
    if len(data) < _HEAD_BYTES or data[3]:
        return None
    family = data[0] << 8 | data[1]
    source_bits = data[2]
    if not source_bits and len(data) == _HEAD_BYTES and family in {0, FAMILY_V4, FAMILY_V6}:
        return Subnet(data, b"")
    width_bits = _WIDTH_BITS.get(family)
    if width_bits is None or source_bits > width_bits or len(data) != _HEAD_BYTES + (source_bits + 7) // 8:
        return None
    spare_bits = -source_bits % 8
    if not source_bits or data[-1] & ((1 << spare_bits) - 1):
        return None
    return Subnet(data, _client(family, source_bits, data[_HEAD_BYTES:]))


def client_at(address: bytes) -> bytes:
    """The network of an address of 4 or 16 bytes."""
    if len(address) == 4:
        return b"\x01\x18" + address[:3]
    return b"\x02\x30" + address[:6]


@lru_cache(maxsize=65_536)
def network_of(client: bytes) -> Network:
    """The network that a client's bytes stand for."""
    bits, data = client[1], client[2:]
    if client[0] == FAMILY_V4:
        return ipaddress.IPv4Network((data.ljust(4, b"\0"), bits))
    return ipaddress.IPv6Network((data.ljust(16, b"\0"), bits))


def shortened(client: bytes, bits: int) -> str:
    """One text for all clients that share so many bits: what they are spread over equal nodes by."""
    kept_bits = min(bits, client[1])
    kept = int.from_bytes(client[2:], "big") >> max(0, 8 * len(client[2:]) - kept_bits)
    return f"{client[0]}/{kept_bits}/{kept:x}"


def answered(data: bytes, scope_bits: int) -> bytes:
    """The option of an answer: the question's with the scope that the answer is good for.

    A question without a source prefix, or an answer that is the same for all, has the scope 0.
    """
    return data[:3] + bytes([scope_bits if data[2] else 0]) + data[4:]


def _client(family: int, bits: int, address: bytes) -> bytes:
    kept_bits = min(bits, KEPT_BITS[family])
    kept = address[: (kept_bits + 7) // 8]
    return bytes([family, kept_bits]) + kept
