"""Serving: what both transports do with a packet: limit, answer, count."""

from __future__ import annotations

import socket
from functools import lru_cache
from typing import TYPE_CHECKING

import dns.rcode
import structlog
from dns.flags import TC

from origin.dns.encoded import recognised
from origin.dns.messages import header_alone

if TYPE_CHECKING:
    from collections.abc import Callable

    from origin.dns.door import Door
    from origin.dns.rate import RateLimit
    from origin.telemetry import Telemetry

log = structlog.get_logger()

_MAPPED = b"\0" * 10 + b"\xff\xff"


class Serving:
    """The door with its limit, its clock and its counters.

    Args:
        door: which answers.
        limit: of answers over UDP; over TCP nobody can forge where they come from.
        telemetry: the origin's counters.
        now_s: the fleet's clock.
    """

    def __init__(
        self, door: Door, limit: RateLimit, telemetry: Telemetry, now_s: Callable[[], float]
    ) -> None:
        self.now_s = now_s
        self._door, self._limit = door, limit
        self._answers = [
            telemetry.dns_answers.labels(dns.rcode.to_text(dns.rcode.Rcode(n))) for n in range(16)
        ]
        self._dropped = telemetry.dns_dropped

    def over_udp(self, packet: bytes, host: str, now_s: float) -> bytes | None:
        """The answer to a packet from a host, or None."""
        address = address_bytes(host)
        verdict = self._limit.verdict(address, now_s)
        if verdict == "answer":
            return self._answer(packet, address, now_s, stream=False)
        if verdict == "slip":
            plain = recognised(packet)
            if plain is not None:
                self.dropped("slipped")
                return truncated(packet, plain.question)
        self.dropped("limited")
        return None

    def over_tcp(self, packet: bytes, host: str) -> bytes | None:
        """The answer to a question from a host, or None."""
        return self._answer(packet, address_bytes(host), self.now_s(), stream=True)

    def dropped(self, reason: str) -> None:
        """Count a packet that got no answer, or none worth the name."""
        self._dropped.labels(reason).inc()

    def _answer(self, packet: bytes, address: bytes, now_s: float, *, stream: bool) -> bytes | None:
        try:
            answer = self._door.answer(packet, address, now_s, stream=stream)
        except (
            Exception
        ):  # a defect of ours must not end the door: the asker gets SERVFAIL and asks another server
            log.exception("dns.broke", packet_bytes=len(packet))
            answer = header_alone(packet, dns.rcode.SERVFAIL)
        if answer is None:
            self.dropped("no_question")
        else:
            self._answers[answer[3] & 15].inc()
        return answer


def truncated(packet: bytes, question: bytes) -> bytes:
    """An empty answer that sends the asker to TCP."""
    head = header_alone(packet, dns.rcode.NOERROR, TC)
    return head[:4] + b"\0\1" + head[6:] + question


@lru_cache(maxsize=16_384)
def address_bytes(host: str) -> bytes:
    """The bytes of an address as sockets name it, an interface's name behind `%` left out."""
    if ":" not in host:
        return socket.inet_pton(socket.AF_INET, host)
    address = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    return address[12:] if address.startswith(_MAPPED) else address
