"""Packets by the book: what is answered how, and what is met with silence."""

import struct

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.tsig
import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.dns.messages import Answered, respond
from origin.dns.records import Reply

ID = b"\x12\x34"


def nothing(name, rdtype, subnet):
    return Answered(Reply(dns.rcode.NOERROR), 0)


def sent(packet):
    return respond(packet, nothing, stream=False)


def rcode(packet):
    answer = sent(packet)
    assert answer[:2] == packet[:2]
    assert answer[2] & 0x80
    return dns.rcode.to_text(dns.rcode.Rcode(answer[3] & 15))


def query(body=b"\4chat\0\0\1\0\1", flags=0x0100, counts=(1, 0, 0, 0)):
    return ID + struct.pack("!5H", flags, *counts) + body


@pytest.mark.parametrize(
    "packet", [b"", ID, query()[:11], query(flags=0x8000), query(flags=0x8500), query(flags=0xFFFF)]
)
def test_silence_for_what_is_no_question(packet):
    assert sent(packet) is None


@pytest.mark.parametrize("opcode", range(1, 16))
def test_other_operations(opcode):
    answer = sent(query(flags=opcode << 11 | 0x0100))
    assert answer == ID + struct.pack("!5H", 0x8000 | opcode << 11 | 0x0100 | 4, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("why", "packet"),
    [
        ("no question", query(b"", counts=(0, 0, 0, 0))),
        ("two questions", query(b"\4chat\0\0\1\0\1" * 2, counts=(2, 0, 0, 0))),
        ("65535 questions", query(counts=(65535, 0, 0, 0))),
        ("an answer in it", query(counts=(1, 1, 0, 0))),
        ("records that are not there", query(counts=(1, 0, 0, 1))),
        ("something behind it", query(b"\4chat\0\0\1\0\1x")),
        ("half a question", query(b"\4chat\0\0\1")),
        ("a name without end", query(b"\4cha")),
        ("a pointer to itself", query(b"\xc0\x0c\0\1\0\1")),
        ("a pointer forward", query(b"\xc0\x20\0\1\0\1" + b"\0" * 20)),
        ("two that point at each other", query(b"\1a\xc0\x10\1b\xc0\x0c\0\1\0\1")),
        ("a pointer into the header", query(b"\xc0\x02\0\1\0\1")),
        ("a label of 64 bytes", query(b"\x40" + b"a" * 64 + b"\0\0\1\0\1")),
        ("a label of type 2", query(b"\x80\0\0\1\0\1")),
        ("a name of 256 bytes", query((b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"a" * 62 + b"\0\0\1\0\1")),
        ("over 4 KiB", query() + b"\0" * 4096),
        ("64 KiB", query() + b"\xff" * 65_000),
        ("an OPT that is cut", query(b"\4chat\0\0\1\0\1\0\0\x29\4\xd0\0\0\0\0", counts=(1, 0, 0, 1))),
        ("two OPT", query(b"\4chat\0\0\1\0\1" + b"\0\0\x29\4\xd0\0\0\0\0\0\0" * 2, counts=(1, 0, 0, 2))),
        ("an OPT with a name", query(b"\4chat\0\0\1\0\1\1x\0\0\x29\4\xd0\0\0\0\0\0\0", counts=(1, 0, 0, 1))),
        ("a cut option", query(b"\4chat\0\0\1\0\1\0\0\x29\4\xd0\0\0\0\0\0\4\0\x08\0\x09", counts=(1, 0, 0, 1))),
        ("a question for OPT", query(b"\4chat\0\0\x29\0\1")),
    ],
)  # fmt: skip
def test_what_cannot_be_read(why, packet):
    assert rcode(packet) == "FORMERR", why


@pytest.mark.parametrize("text", ["0 1 2", "bad scope"])
def test_a_client_subnet_that_breaks_the_rules(wire, text):
    data = {"0 1 2": b"\0\1\2", "bad scope": b"\0\1\x18\x18\1\2\3"}[text]
    answer = dns.message.from_wire(sent(wire.question("chat", subnet=data)))
    assert answer.rcode() == dns.rcode.FORMERR
    assert answer.options == ()


def test_two_client_subnets(wire):
    option = dns.edns.GenericOption(8, b"\0\1\x18\0\1\2\3")
    packet = dns.message.make_query("chat.route.example.org", "A", options=[option, option]).to_wire()
    assert rcode(packet) == "FORMERR"


@pytest.mark.parametrize("rdclass", ["CH", "HS", "NONE", "ANY", "CLASS42"])
def test_other_classes(rdclass):
    packet = dns.message.make_query("version.bind", "TXT", rdclass).to_wire()
    assert rcode(packet) == "REFUSED"


@pytest.mark.parametrize(
    ("rdtype", "said"), [(251, "REFUSED"), (252, "REFUSED"), (253, "NOTIMP"), (249, "NOTIMP")]
)
def test_transfers_and_types_that_are_none(rdtype, said):
    for stream in (False, True):
        packet = query(b"\4chat\0" + struct.pack("!HH", rdtype, 1))
        assert respond(packet, nothing, stream=stream)[3] & 15 == dns.rcode.from_text(said)


def test_an_incremental_transfer_with_its_soa():
    soa = b"\4chat\0\0\6\0\1\0\0\0\0\0\x16\0\0" + b"\0" * 20
    assert rcode(query(b"\4chat\0\0\xfb\0\1" + soa, counts=(1, 0, 1, 0))) == "REFUSED"


def test_a_later_version_of_edns(wire):
    answer = dns.message.from_wire(sent(wire.question("chat", use_edns=3, subnet="80.1.2.0/24")))
    assert answer.rcode() == dns.rcode.BADVERS
    assert answer.edns == 0
    assert len(answer.question) == 1


def test_a_signature_that_nobody_can_check():
    signed = dns.message.make_query("chat.", "A")
    signed.use_tsig(dns.tsig.Key("key.", b"secret secret secret"))
    assert rcode(signed.to_wire()) == "NOTAUTH"


def test_another_zone(wire):
    packet = wire.question("www.example.com.", subnet="80.1.2.0/24")
    answer = dns.message.from_wire(respond(packet, lambda *_: None, stream=False))
    assert answer.rcode() == dns.rcode.REFUSED
    assert not answer.flags & dns.flags.AA
    assert wire.scope(answer) == wire.subnet_data("80.1.2.0/24")


def test_flags_of_an_answer(wire):
    asked = dns.message.make_query(
        "chat.", "A", flags=dns.flags.RD | dns.flags.CD | dns.flags.AD, want_dnssec=True
    )
    answer = dns.message.from_wire(sent(asked.to_wire()))
    assert answer.flags == dns.flags.QR | dns.flags.AA | dns.flags.RD
    assert answer.ednsflags == dns.flags.DO
    assert answer.payload == 1232
    assert dns.message.from_wire(sent(query(flags=0))).edns == -1


SOME_BYTES = st.one_of(
    st.binary(max_size=80),
    st.builds(
        lambda flags, counts, body: ID + struct.pack("!5H", flags, *counts) + body,
        st.sampled_from([0, 0x0100, 0x0120]),
        st.tuples(*[st.integers(0, 2)] * 4),
        st.lists(
            st.sampled_from([
                b"\4chat", b"\0", b"\xc0\x0c", b"\xc0", b"\0\1\0\1", b"\0\x29", b"\4\xd0\0\0\0\0",
                b"\0\x0b", b"\0\x08\0\7\0\1\x18\0\1\2\3", b"\0\x0a\0\x08abcdefgh", b"\x3f" + b"a" * 63, b"\0\xfa",
                b"\0\6",
            ]),
            max_size=12,
        ).map(b"".join),
    ),
)  # fmt: skip


@given(SOME_BYTES, st.booleans())
def test_any_bytes_get_a_well_formed_answer_or_none(packet, stream):
    answer = respond(packet, nothing, stream=stream)
    if len(packet) < 12 or packet[2] & 0x80:
        assert answer is None
    else:
        assert dns.message.from_wire(answer).id == struct.unpack_from("!H", packet)[0]
        assert stream or len(answer) <= 1232
