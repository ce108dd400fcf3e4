"""Answers kept in their encoded form: a plain question is recognised by its bytes and answered with no parsing.

Only questions of the common form are recognised: one question of class IN, flags that ask for nothing but recursion
or checking, and at most an OPT record with options that need no answer, client subnet apart. All else is left to
`origin.dns.messages`, which answers these here with the same bytes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

import dns.message
from dns.flags import AA, QR
from dns.rdataclass import IN
from dns.rdatatype import AAAA, HTTPS, NS, SOA, TXT, A

from origin.dns.messages import EDNS_PAYLOAD_BYTES, PLAIN_PAYLOAD_BYTES
from origin.dns.subnet import OPTION_SUBNET, Subnet, answered, read_subnet

if TYPE_CHECKING:
    from origin.dns.records import Reply

_OPT_HEAD = b"\0\0\x29"
_OPT = struct.Struct(
    "!3sHBBHH"
)  # root name and type, payload, high bits of the rcode, version, flags, length
_OPTION = struct.Struct("!HH")
_DO = 0x8000
_RD = 0x0100
_NSID, _COOKIE, _PADDING = 3, 10, 12
_COOKIE_BYTES = frozenset({8, *range(16, 41)})
_HEADER_BYTES = 12


def _plain_heads() -> dict[bytes, bool]:
    """The ten bytes behind the id of a plain question, and whether an OPT record follows."""
    heads = {}
    for flags in (0, _RD):
        for asked in (0, 0x0020, 0x0010, 0x0030):  # AD, CD
            for additional in (0, 1):
                heads[struct.pack("!5H", flags | asked, 1, 0, 0, additional)] = bool(additional)
    return heads


_PLAIN_HEADS = _plain_heads()
# The types that are kept encoded, with the class IN behind them.
KEPT_TYPES = {struct.pack("!HH", rdtype, IN): rdtype for rdtype in (A, NS, SOA, TXT, AAAA, HTTPS)}


class Plain(NamedTuple):
    """A question of the common form.

    Attributes:
        name: its name in small letters.
        type_and_class: its four bytes.
        question: as it came, in its own capitals.
        extended: whether it has an OPT record.
        wants_dnssec: the DO bit, which the answer repeats.
        limit_bytes: the longest answer over UDP.
        subnet: its client subnet.
    """

    name: bytes
    type_and_class: bytes
    question: bytes
    extended: bool
    wants_dnssec: int
    limit_bytes: int
    subnet: Subnet | None


class Encoded(NamedTuple):
    """The sections of an answer behind its question, which they point into."""

    flags: int
    counts: tuple[int, int, int]
    sections: bytes
    scope_bits: int = 0


def recognised(packet: bytes) -> Plain | None:
    """The packet as a plain question; None where it needs the slow way."""
    extended = _PLAIN_HEADS.get(packet[2:_HEADER_BYTES])
    if extended is None:
        return None
    # A name that is known has no zero byte inside, so that the first one ends it.
    end = packet.find(b"\0", _HEADER_BYTES) + 1
    name = packet[_HEADER_BYTES:end].lower()  # lengths are below 64, where no capital letter is
    type_and_class = packet[end : end + 4]
    end += 4
    if extended:
        return _with_opt(packet, name, type_and_class, end)
    if len(packet) != end:
        return None
    return Plain(name, type_and_class, packet[_HEADER_BYTES:], False, 0, PLAIN_PAYLOAD_BYTES, None)


def _with_opt(packet: bytes, name: bytes, type_and_class: bytes, end: int) -> Plain | None:
    first_option = end + _OPT.size
    if len(packet) < first_option:
        return None
    head, payload_bytes, _, version, flags, length = _OPT.unpack_from(packet, end)
    if head != _OPT_HEAD or version or len(packet) != first_option + length:
        return None
    fit, subnet = _options(packet, first_option) if length else (True, None)
    if not fit:
        return None
    limit_bytes = min(max(payload_bytes, PLAIN_PAYLOAD_BYTES), EDNS_PAYLOAD_BYTES)
    question = packet[_HEADER_BYTES:end]
    return Plain(name, type_and_class, question, True, flags & _DO, limit_bytes, subnet)


def encoded(plain: Plain, reply: Reply) -> Encoded:
    """A reply for a plain question, in the form that is kept."""
    query = dns.message.from_wire(b"\0\0\0\0\0\1\0\0\0\0\0\0" + plain.name + plain.type_and_class)
    response = dns.message.make_response(query)
    response.answer = list(reply.answer)
    response.authority = list(reply.authority)
    response.additional = list(reply.additional)
    wire = response.to_wire(max_size=65_535, want_shuffle=False)
    _, _, *counts = struct.unpack_from("!5H", wire, 2)
    return Encoded(
        QR | reply.rcode | (AA if reply.authoritative else 0),
        (counts[0], counts[1], counts[2]),
        wire[_HEADER_BYTES + len(plain.question) :],
    )


def composed(packet: bytes, plain: Plain, kept: Encoded, *, stream: bool) -> bytes | None:
    """The kept answer for this packet; None when it is too long for the asker, who needs the slow way."""
    answers, authorities, additionals = kept.counts
    flags = kept.flags | (packet[2] & 1) << 8
    parts = [
        packet[:2],
        struct.pack("!5H", flags, 1, answers, authorities, additionals + plain.extended),
        plain.question,
        kept.sections,
    ]
    if plain.extended:
        parts.append(_opt(plain, kept.scope_bits))
    whole = b"".join(parts)
    return whole if stream or len(whole) <= plain.limit_bytes else None


def _opt(plain: Plain, scope_bits: int) -> bytes:
    options = b""
    if plain.subnet is not None:
        data = answered(plain.subnet.data, scope_bits)
        options = _OPTION.pack(OPTION_SUBNET, len(data)) + data
    return _OPT.pack(_OPT_HEAD, EDNS_PAYLOAD_BYTES, 0, 0, plain.wants_dnssec, len(options)) + options


def _options(packet: bytes, at: int) -> tuple[bool, Subnet | None]:
    """Whether all options are well formed and none but client subnet needs an answer, and that one."""
    subnet: Subnet | None = None
    end = len(packet)
    while at < end:
        if at + _OPTION.size > end:
            return False, None
        code, length = _OPTION.unpack_from(packet, at)
        at += _OPTION.size
        if at + length > end:
            return False, None
        if code == OPTION_SUBNET:
            if subnet is not None:
                return False, None
            subnet = read_subnet(packet[at : at + length])
            if subnet is None:
                return False, None
        elif not (
            (code == _COOKIE and length in _COOKIE_BYTES)
            or (code == _NSID and not length)
            or code == _PADDING
        ):
            return False, None
        at += length
    return True, subnet
