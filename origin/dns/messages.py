"""Messages read and written by dnspython: any bytes in, the answer by the book out; slow, and always right.

What is not a question gets no answer, or one that says what was wrong: nothing for an answer or for less than a
header (two servers must not talk to each other for ever), NOTIMP for other operations, FORMERR for what cannot be
read, REFUSED for another zone, another class and transfers (RFC 1035, 2308, 6891, 7871, 8482, 9619).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, Protocol

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from origin.dns.subnet import OPTION_SUBNET, Subnet, answered, read_subnet

if TYPE_CHECKING:
    from dns.name import Name
    from dns.rdatatype import RdataType

    from origin.dns.records import Reply

EDNS_PAYLOAD_BYTES = 1232
"""What fits into one packet on every path (DNS Flag Day 2020)."""
PLAIN_PAYLOAD_BYTES = 512
STREAM_PAYLOAD_BYTES = 65_535
QUERY_LIMIT_BYTES = 4096

_HEADER = struct.Struct("!6H")
_OPERATION = 0x7800
_TRANSFERS = {dns.rdatatype.AXFR, dns.rdatatype.IXFR}
_FIRST_META, _LAST_META = 128, 254

# Client subnets are read by our own reader on both ways, since dnspython's refuses the family 0 of `dig +subnet=0`.
dns.edns.register_type(dns.edns.GenericOption, dns.edns.OptionType.ECS)


class Answered(NamedTuple):
    """What the zone says: the reply, and how long a client's prefix it is good for."""

    reply: Reply
    scope_bits: int


class Lookup(Protocol):
    """The zone's word."""

    def __call__(self, name: Name, rdtype: RdataType, subnet: Subnet | None) -> Answered | None:
        """What the zone says of a name and type; None for a name that is not in the zone."""


def respond(packet: bytes, lookup: Lookup, *, stream: bool) -> bytes | None:
    """The answer to a packet, or None where silence is right.

    Args:
        packet: as it came.
        lookup: the zone's word.
        stream: whether it came over TCP, where no answer is too long.
    """
    if len(packet) < _HEADER.size or packet[2] << 8 & dns.flags.QR:
        return None
    query = _query(packet)
    if not isinstance(query, dns.message.Message):
        return header_alone(packet, query)
    response = dns.message.make_response(query, our_payload=EDNS_PAYLOAD_BYTES, pad=0)
    limit_bytes = PLAIN_PAYLOAD_BYTES
    if query.edns >= 0:
        response.ednsflags |= query.ednsflags & dns.flags.DO
        limit_bytes = min(max(query.payload, PLAIN_PAYLOAD_BYTES), EDNS_PAYLOAD_BYTES)
    _fill(query, response, lookup)
    return response.to_wire(
        max_size=STREAM_PAYLOAD_BYTES if stream else limit_bytes, prefer_truncation=True, want_shuffle=False
    )


def _query(packet: bytes) -> dns.message.Message | dns.rcode.Rcode:
    """The question that a packet is, or what is wrong with it."""
    _, flags, questions, answers, authorities, additionals = _HEADER.unpack_from(packet)
    if flags & _OPERATION:
        return dns.rcode.NOTIMP
    # No question has more records than these: what a packet can cost is bounded before it is parsed.
    if len(packet) > QUERY_LIMIT_BYTES or questions != 1 or answers or authorities > 1 or additionals > 2:
        return dns.rcode.FORMERR
    try:
        query = dns.message.from_wire(packet)
    except dns.message.UnknownTSIGKey:
        return dns.rcode.NOTAUTH
    except (dns.exception.DNSException, ValueError, struct.error):
        return dns.rcode.FORMERR
    # The first name has no earlier one to point at: what it would read there is the header.
    spelled_out = packet.startswith(
        b"".join(_spelled(label) for label in query.question[0].name.labels), _HEADER.size
    )
    return query if spelled_out else dns.rcode.FORMERR


def _spelled(label: bytes) -> bytes:
    return bytes([len(label)]) + label


def header_alone(packet: bytes, rcode: dns.rcode.Rcode, extra_flags: int = 0) -> bytes:
    """An answer that repeats nothing but the id, the operation and the wish for recursion."""
    asked = packet[2] << 8 | packet[3]
    flags = dns.flags.QR | extra_flags | asked & (_OPERATION | dns.flags.RD) | rcode
    return packet[:2] + struct.pack("!5H", flags, 0, 0, 0, 0)


def _fill(
    query: dns.message.Message,
    response: dns.message.Message,
    lookup: Lookup,
) -> None:
    if query.edns > 0:
        response.set_rcode(dns.rcode.BADVERS)
        return
    subnets = [option for option in query.options if option.otype == OPTION_SUBNET]
    subnet = read_subnet(subnets[0].to_wire()) if subnets else None
    if len(subnets) > 1 or (subnets and subnet is None):
        response.set_rcode(dns.rcode.FORMERR)
        return
    question = query.question[0]
    scope_bits = 0
    refused = _refusal(question.rdclass, question.rdtype)
    found = None if refused is not None else lookup(question.name, question.rdtype, subnet)
    if found is None:
        response.set_rcode(dns.rcode.REFUSED if refused is None else refused)
    else:
        reply, scope_bits = found
        response.set_rcode(reply.rcode)
        if reply.authoritative:
            response.flags |= dns.flags.AA
        response.answer = list(reply.answer)
        response.authority = list(reply.authority)
        response.additional = list(reply.additional)
    if subnet is not None:
        data = answered(subnet.data, scope_bits)
        response.use_edns(
            0,
            response.ednsflags,
            EDNS_PAYLOAD_BYTES,
            query.payload,
            [dns.edns.GenericOption(dns.edns.OptionType.ECS, data)],
        )


def _refusal(rdclass: int, rdtype: int) -> dns.rcode.Rcode | None:
    """Why a question is not even looked up: transfers and other classes, or types that are no types of records."""
    if rdclass != dns.rdataclass.IN or rdtype in _TRANSFERS:
        return dns.rcode.REFUSED
    if _FIRST_META <= rdtype <= _LAST_META:
        return dns.rcode.NOTIMP
    return dns.rcode.FORMERR if rdtype == dns.rdatatype.OPT else None
