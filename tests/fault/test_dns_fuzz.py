"""Bytes that mean harm at the DNS door: for each a well-formed answer or none, soon, and both ways alike.

20,000 packets by default; EDGEWARD_FUZZ_COUNT=1000000 for the long run. The seed is the test's parameter.
"""

from __future__ import annotations

import os
import random
import struct
import time

import dns.edns
import dns.message
import dns.rcode
import pytest

from origin.api import CatalogAnswer, ModelReport, NodeReport, Place
from origin.dns.door import Door, Located
from origin.dns.records import Zone
from origin.dns_settings import name_servers_of
from origin.fleet import Fleet, FleetRules
from origin.geo.client_spot import ClientSpot

pytestmark = pytest.mark.fault

COUNT = int(os.environ.get("EDGEWARD_FUZZ_COUNT", "20000"))
ZONE = "route.example.org"
CPU_LIMIT_S = 0.25  # for the worst single packet; a whole one of 64 KiB may cost no more
PARTS = [
    b"\0", b"\4chat", b"\4CHAT", b"\5route\7example\3org\0", b"\xc0\x0c", b"\xc0\x00", b"\xc0\xff", b"\xff\xff",
    b"\x40", b"\x80", b"\x3f" + b"a" * 63, b"\0\1\0\1", b"\0\x1c\0\1", b"\0\xff\0\1", b"\0\xfc\0\1", b"\0\xfb\0\1",
    b"\0\1\0\3", b"\0\0\x29\4\xd0\0\0\0\0\0\0", b"\0\0\x29\4\xd0\0\0\0\0\0\x0b\0\x08\0\7\0\1\x18\0\x50\1\2",
    b"\0\0\x29\0\0\1\1\x80\0\0\0", b"\0\x08\0\x08\0\1\x20\0\1\2\3\4", b"\0\x08\0\4\0\0\0\0",
    b"\0\x0a\0\x08abcdefgh", b"\0\0\x29" + b"\xff" * 8, b"\0\0\6\0\1\0\0\0\0\0\x16" + b"\0" * 22,
    b"\0\0\xfa\0\xff\0\0\0\0\0\x3a\x0bhmac-sha256\0" + b"\0" * 45,
]  # fmt: skip


COUNTS = [(1, 0, 0, 0), (1, 0, 0, 1), (1, 0, 0, 2), (1, 0, 1, 0), (0, 0, 0, 0), (2, 0, 0, 0), (65_535,) * 4]


class Knowing:
    """One node, and a map of nothing."""

    def __init__(self):
        self.fleet = Fleet(FleetRules())
        model = ModelReport(name="chat", version="1.0", state="ready", slots=1)
        for number in (1, 2, 3, 4):
            self.fleet.accept(
                NodeReport(
                    node_id=f"n{number}", incarnation=1, url="https://n.example:7710", place=Place(10 * number, 0),
                    models=(model,), addresses=(f"198.51.100.{number}", f"2001:db8::{number}"),
                ),
                0.0,
            )  # fmt: skip

    def view(self, now_s):
        return self.fleet.view(now_s)

    def catalog(self):
        return CatalogAnswer(releases=(), channels={})

    def network(self):
        return None

    def locate(self, network, now_s):
        return Located(ClientSpot(), network.prefixlen)


@pytest.fixture(scope="module")
def door():
    return Door(Zone(ZONE, name_servers_of(ZONE, (f"ns1.{ZONE}=203.0.113.1",))), Knowing(), keep_s=60)


def packet(chance):
    kind = chance.randrange(5)
    if kind == 0:
        return chance.randbytes(chance.choice([0, 5, 11, 12, 13, 17, 40, 100, 512, 4096, 4097, 65_000]))
    flags = chance.choice([0, 0x0100, 0x0120, 0x0110, 0x2800, 0x0200, 0x8000, chance.randrange(65_536)])
    counts = chance.choice(COUNTS)
    body = b"".join(chance.choice(PARTS) for _ in range(chance.randrange(9)))
    if kind == 1:
        body = chance.choice([b"\4chat", b"\4nope", b"\1a\4nOpe"]) + b"\5route\7example\3org\0\0\1\0\1" + body
    made = bytearray(chance.randbytes(2) + struct.pack("!5H", flags, *counts) + body)
    for _ in range(chance.choice([0, 0, 1, 3])):
        made[chance.randrange(len(made))] = chance.randrange(256)
    if kind == 2:
        made += chance.choice(PARTS) * chance.randrange(1, 3000)
    return bytes(made[: 65_507 if chance.randrange(5) else chance.randrange(len(made) + 1)])


@pytest.mark.parametrize("seed", [1, 2])
def test_any_packet(door, seed):
    chance = random.Random(seed)
    rcodes, worst_s = set(), 0.0
    for _ in range(COUNT // 2):
        data, stream = packet(chance), chance.random() < 0.2
        address = chance.choice([b"\x50\1\1\1", b"\x20\1" + b"\0" * 14])
        began_s = time.thread_time()
        answer = door.answer(data, address, 0.0, stream=stream)
        worst_s = max(worst_s, time.thread_time() - began_s)
        assert answer == door.answer_slowly(data, address, 0.0, stream=stream), data
        if len(data) < 12 or data[2] & 0x80:
            assert answer is None
            continue
        assert answer is not None
        assert stream or len(answer) <= 1232
        message = dns.message.from_wire(answer)
        assert message.id == struct.unpack_from("!H", data)[0]
        rcodes.add(dns.rcode.to_text(message.rcode()))
    assert worst_s < CPU_LIMIT_S
    # Packets that nobody would look at twice prove nothing: all that can be said was said.
    assert rcodes >= {"NOERROR", "NXDOMAIN", "FORMERR", "NOTIMP", "REFUSED"}


@pytest.mark.parametrize(
    "body",
    [
        b"\xc0\x0c" * 2000,
        (b"\1a" * 120 + b"\xc0\x0c") * 16,
        b"".join(b"\1a" + struct.pack("!H", 0xC00C + 4 * at) for at in range(1000)),
        b"\0\0\x29\4\xd0\0\0\0\0\x0f\xa0" + b"\0\x08\0\0" * 1000,
        b"\4chat\0\0\1\0\1\0\0\x29\4\xd0\0\0\0\0\x0f\x9c" + b"\0\x0b\0\0" * 999,
        b"\4chat\0\0\1\0\1\0\0\x29\4\xd0\0\0\0\0\x0f\x9c" + b"\xff\xff\0\0" * 999,
    ],
)
@pytest.mark.parametrize("counts", [(1, 0, 0, 0), (1, 0, 0, 1), (1, 0, 1, 2)])
def test_what_is_made_to_cost_time_costs_little(door, body, counts):
    data = b"\0\1" + struct.pack("!5H", 0x0100, *counts) + body
    began_s = time.thread_time()
    door.answer(data, b"\x50\1\1\1", 0.0, stream=True)
    assert time.thread_time() - began_s < 0.05
