"""ClientRtts: the round trips that the kernel has measured to clients, by their networks, until the origin has them."""

from __future__ import annotations

import socket
import struct
from collections import OrderedDict
from typing import TYPE_CHECKING

from origin.api import RttSample
from registry.addresses import network_of, read_address

if TYPE_CHECKING:
    import asyncio

_NETWORKS_LIMIT_COUNT = 4096
_ADDRESSES_LIMIT_COUNT = 4096
_REPORTED_LIMIT_COUNT = 64
_LOOK_AGAIN_S = 1.0
_RTT = struct.Struct("=68xI76xI")
"""`tcpi_rtt` and `tcpi_min_rtt` of `struct tcp_info` in linux/tcp.h, in microseconds; the latter since Linux 4.6."""
_UNMEASURED_US = 2**32 - 1
_LONGEST_MS = 60_000.0


class ClientRtts:
    """What to tell the origin of clients' round trips; bounded, and told once."""

    def __init__(self) -> None:
        self._networks: OrderedDict[str, RttSample] = OrderedDict()  # who was seen last is the last
        self._looked_s: dict[str, float] = {}
        self._telling: tuple[RttSample, ...] = ()

    def look(self, transport: asyncio.BaseTransport | None, now_s: float) -> None:
        """Note a connection's round trip; each client's at most once a second, since it hardly changes."""
        peer = transport.get_extra_info("peername") if transport is not None else None
        if transport is None or not isinstance(peer, tuple):
            return  # a Unix socket, or a connection that is over
        looked_s = self._looked_s.get(peer[0])
        if looked_s is not None and now_s - looked_s < _LOOK_AGAIN_S:
            return
        if len(self._looked_s) >= _ADDRESSES_LIMIT_COUNT:
            self._looked_s.clear()
        self._looked_s[peer[0]] = now_s
        address = read_address(peer[0])
        prefix = network_of(address) if address is not None else ""
        rtt_ms = _kernel_rtt_ms(transport.get_extra_info("socket")) if prefix else None
        if rtt_ms is not None:
            self.note(prefix, rtt_ms)

    def note(self, prefix: str, rtt_ms: float) -> None:
        """Keep the least round trip to a network until it is told."""
        known = self._networks.pop(prefix, None)
        if known is not None:
            self._networks[prefix] = RttSample(
                prefix=prefix, rtt_ms=min(known.rtt_ms, rtt_ms), count=min(known.count + 1, 2**31)
            )
            return
        if len(self._networks) >= _NETWORKS_LIMIT_COUNT:
            self._networks.popitem(last=False)
        self._networks[prefix] = RttSample(prefix=prefix, rtt_ms=rtt_ms)

    def pending(self) -> tuple[RttSample, ...]:
        """What the next report should say, at most 64 networks, those that have waited longest first."""
        self._telling = tuple(self._networks.values())[:_REPORTED_LIMIT_COUNT]
        return self._telling

    def told(self) -> None:
        """The origin has what was pending: forget it, but for what was seen again meanwhile."""
        for sample in self._telling:
            if self._networks.get(sample.prefix) is sample:
                del self._networks[sample.prefix]
        self._telling = ()


def _kernel_rtt_ms(connection: socket.socket | None) -> float | None:
    """The least round trip of a TCP connection; None where the kernel does not say."""
    if connection is None or not hasattr(socket, "TCP_INFO"):
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RTT.size)
    except OSError:  # not TCP, or closed by now
        return None
    if len(info) < _RTT.size:
        return None
    smoothed_us, least_us = _RTT.unpack(info)
    rtt_us = smoothed_us if least_us in {0, _UNMEASURED_US} else least_us
    rtt_ms = rtt_us / 1000
    return rtt_ms if 0 < rtt_ms <= _LONGEST_MS else None
