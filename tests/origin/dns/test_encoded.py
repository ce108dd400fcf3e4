"""Plain questions: what is recognised, and that both ways give the same bytes for every one."""

import struct

import dns.name
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from origin.dns.encoded import recognised

NAMES = [
    "chat", "canary.chat", "stable.chat", "team--embed-small", "", "ns1", "nodes", "paris.nodes", "nope", "a.b.nope",
    "deeper.ns1", "hostmaster", "x.hostmaster", "org", "www.example.com.", "example.org.", "xroute.example.org.", ".",
    "a" * 63 + "." + "b" * 63 + "." + "c" * 63, "\\000", "a\\000b", "\\.route", "\\192\\012",
]  # fmt: skip
TYPES = ["A", "AAAA", "TXT", "HTTPS", "NS", "SOA", "MX", "ANY", "TYPE97", "AXFR"]
OPTIONS = [  # cookies, name server ids, padding, others, and forms of them that are wrong
    b"", b"\0\x0a\0\x08abcdefgh", b"\0\x0a\0\x07abcdefg", b"\0\x0a\0\x10" + b"c" * 16,
    b"\0\x0a\0\x0c" + b"c" * 12, b"\0\x0a\0\x29" + b"c" * 41, b"\0\3\0\0", b"\0\3\0\1x",
    b"\0\x0c\0\4\0\0\0\0", b"\xfd\xe9\0\2ab", b"\0\x0b\0\2\0\1", b"\0\x0b\0\0", b"\0\x0b\0\3abc",
    b"\0\x0f\0\1a", b"\0\x0f\0\2\0\1", b"\0\x0f\0\3\0\1\xff", b"\0\x0d\0\0", b"\0\x12\0\0", b"\0\5\0\1\x08",
    b"\0\x08", b"\0\x0a\0\xff",
]  # fmt: skip
SUBNETS = [
    b"", b"\0\1\x18\0\x50\1\2", b"\0\1\x20\0\x78\1\2\3", b"\0\1\x10\0\x50\1", b"\0\1\x08\0\x78",
    b"\0\1\0\0", b"\0\0\0\0", b"\0\2\x38\0\x2a\0\0\0\0\0\1", b"\0\2\x20\0\x24\0\0\1",
    b"\0\1\x14\0\x50\1\x21", b"\0\1\x18\x18\x50\1\2", b"\0\3\0\0",
]  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"flags": 0},
        {"use_edns": 0},
        {"use_edns": 0, "want_dnssec": True, "payload": 512},
        {"subnet": "80.1.2.0/24"},
        {"subnet": "2a00::/32"},
    ],
)
def test_what_resolvers_send_is_recognised(wire, fields):
    plain = recognised(wire.question("CHaT", "AAAA", **fields))
    assert plain.name == b"\4chat\5route\7example\3org\0"
    assert plain.question == b"\4CHaT\5route\7example\3org\0\0\x1c\0\1"
    assert plain.extended is bool({"use_edns", "subnet"} & fields.keys())
    assert (plain.subnet is not None) is ("subnet" in fields)


def test_a_type_is_not_taken_for_another_in_small_letters(world, wire):
    # HTTPS is type 65, which is the letter A; 97 is the letter a.
    assert world.ask("chat", "HTTPS").question[0].rdtype == 65
    assert world.ask("chat", "TYPE97").question[0].rdtype == 97
    assert recognised(wire.question("chat", "HTTPS")).type_and_class == b"\0\x41\0\1"


@st.composite
def packets(draw):
    name = draw(st.sampled_from(NAMES))
    text = name if name.endswith(".") else f"{name}.route.example.org.".lstrip(".")
    try:
        question = dns.name.from_text(text).to_wire()
    except dns.name.NameTooLong:
        question = b"\1x\0"
    capitals = draw(st.integers(0, 2**16))
    question = bytes(
        byte - 32 if 97 <= byte <= 122 and capitals >> at % 16 & 1 else byte
        for at, byte in enumerate(question)
    )
    rdtype = dns.rdatatype.from_text(draw(st.sampled_from(TYPES)))
    question += struct.pack("!HH", rdtype, draw(st.sampled_from([1, 1, 1, 1, 3, 255])))
    flags = draw(st.sampled_from([0, 0x0100, 0x0120, 0x0110, 0x0010, 0x0130, 0x0200, 0x0400, 0x0040, 0x0080]))
    if not draw(st.integers(0, 3)):
        junk = draw(st.sampled_from([b"", b"", b"\0"]))
        return (
            draw(st.binary(min_size=2, max_size=2)) + struct.pack("!5H", flags, 1, 0, 0, 0) + question + junk
        )
    options = draw(st.sampled_from(OPTIONS)) if draw(st.booleans()) else b""
    subnet = draw(st.sampled_from(SUBNETS))
    if subnet:
        options += struct.pack("!HH", 8, len(subnet)) + subnet
    if not draw(st.integers(0, 3)):
        options += draw(st.sampled_from(OPTIONS))
    payload_bytes = draw(st.sampled_from([0, 100, 512, 1232, 4096, 65535]))
    high_bits, version = draw(st.sampled_from([0, 0, 1])), draw(st.sampled_from([0, 0, 0, 1]))
    more = draw(st.sampled_from([0, 0x8000, 0x4000]))
    opt = struct.pack("!3sHBBHH", b"\0\0\x29", payload_bytes, high_bits, version, more, len(options))
    return (
        draw(st.binary(min_size=2, max_size=2))
        + struct.pack("!5H", flags, 1, 0, 0, 1)
        + question
        + opt
        + options
    )


@given(data=st.data())
@settings(max_examples=250)
def test_both_ways_give_the_same_bytes(data):
    world = _world()
    packet = data.draw(packets())
    address = data.draw(st.sampled_from([b"\x50\1\2\3", b"\x78\1\2\3", b"\x2a" + b"\0" * 15]))
    stream = data.draw(st.booleans())
    first = world.door.answer(packet, address, 0.0, stream=stream)
    assert first == world.door.answer_slowly(packet, address, 0.0, stream=stream)
    assert first == world.door.answer(packet, address, 0.0, stream=stream)


@given(data=st.data())
@settings(max_examples=150)
def test_also_of_packets_that_were_damaged(data):
    world = _world()
    packet = bytearray(data.draw(packets()))
    for _ in range(data.draw(st.integers(1, 3))):
        packet[data.draw(st.integers(0, len(packet) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(packet)))
    for damaged in (bytes(packet), bytes(packet[:cut])):
        quick = world.door.answer(damaged, b"\x50\1\2\3", 0.0, stream=False)
        assert quick == world.door.answer_slowly(damaged, b"\x50\1\2\3", 0.0, stream=False)


_WORLDS = []


def _world():
    """One world for all examples, so that what was kept of one could spoil the next."""
    from tests.origin.dns.conftest import World

    if not _WORLDS:
        _WORLDS.append(World())
        _WORLDS[0].hear_all(url="https://x:7710")
    return _WORLDS[0]
