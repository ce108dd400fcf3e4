"""DNS over UDP: packets read and answered in batches on the event loop, from the address that they came to."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

import structlog

from origin.dns.messages import QUERY_LIMIT_BYTES

if TYPE_CHECKING:
    import asyncio

    from origin.dns.serving import Serving

log = structlog.get_logger()

_BATCH_COUNT = 32  # packets before others on the loop get their turn
_BUFFER_BYTES = 4 * 2**20
_ANCILLARY_BYTES = socket.CMSG_SPACE(20)
_IP_PKTINFO = 8  # Linux; the module `socket` names it from Python 3.14 on
_V4_INFO = struct.Struct("=I4s4s")  # index of the interface, our address there, the address in the packet
_V6_INFO = struct.Struct("=16sI")


class UdpEnd:
    """One bound socket that is read while it is open.

    On a machine with several addresses an answer must leave from the one that was asked, or the asker drops it:
    the kernel is asked which one that was.

    Args:
        bound: a UDP socket, bound and not blocking.
        serving: what answers.
        loop: which watches the socket.
    """

    def __init__(self, bound: socket.socket, serving: Serving, loop: asyncio.AbstractEventLoop) -> None:
        self._socket, self._serving, self._loop = bound, serving, loop
        if bound.family == socket.AF_INET:
            bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        else:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
        loop.add_reader(bound, self._read)

    def close(self) -> None:
        """Read no more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        now_s = self._serving.now_s()
        for _ in range(_BATCH_COUNT):
            try:
                packet, ancillary, _, sender = self._socket.recvmsg(QUERY_LIMIT_BYTES + 1, _ANCILLARY_BYTES)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:  # an ICMP error of an earlier answer
                log.debug("dns.read_failed", reason=str(error))
                continue
            answer = self._serving.over_udp(packet, sender[0], now_s)
            if answer is not None:
                self._send(answer, ancillary, sender)

    def _send(self, answer: bytes, ancillary: list[tuple[int, int, bytes]], sender: Any) -> None:
        try:
            self._socket.sendmsg([answer], [_from_there(*it) for it in ancillary], 0, sender)
        except OSError as error:  # a full buffer, or an address that cannot be reached: a resolver asks again
            self._serving.dropped("unsent")
            log.debug("dns.send_failed", reason=str(error))


def _from_there(level: int, kind: int, data: bytes) -> tuple[int, int, bytes]:
    """The address that was asked as the one to answer from, by whatever interface leads to the asker."""
    if level == socket.IPPROTO_IP:
        _, ours, _ = _V4_INFO.unpack(data)
        return level, kind, _V4_INFO.pack(0, ours, b"\0\0\0\0")
    ours, index = _V6_INFO.unpack(data)
    local = ours[0] == 0xFE and ours[1] & 0xC0 == 0x80  # link-local: means nothing without its interface
    return level, kind, _V6_INFO.pack(ours, index if local else 0)
