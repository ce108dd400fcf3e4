"""The DNS door asked by dig, as operators and resolvers ask: order, scope, transports, and what is refused.

dig comes with Debian's bind9-dnsutils; without it these are skipped.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import time

import pytest

from origin.api import CatalogAnswer, ModelReport, NodeReport, Place
from origin.dns.door import Door, Located
from origin.dns.listening import listening
from origin.dns.rate import RateLimit
from origin.dns.records import Zone
from origin.dns.serving import Serving
from origin.dns_settings import name_servers_of
from origin.fleet import Fleet, FleetRules
from origin.geo.client_spot import ClientSpot
from origin.telemetry import Telemetry

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not shutil.which("dig"), reason="dig is not installed (Debian: bind9-dnsutils)"),
]

ZONE = "route.example.org"
# Far enough apart that no two are equals for any of the clients below.
CITIES = {
    "paris": (Place(48.86, 2.35), 1),
    "newyork": (Place(40.71, -74.01), 2),
    "tokyo": (Place(35.68, 139.65), 3),
    "sydney": (Place(-33.87, 151.21), 4),
}
CLIENTS = {
    "80.1.2.0/24": ("paris", "newyork", "tokyo"),
    "23.5.0.0/16": ("newyork", "paris", "tokyo"),
    "126.7.8.0/24": ("tokyo", "sydney", "paris"),
    "2a01:e00::/32": ("paris", "newyork", "tokyo"),
    "2600:1f00:1::/48": ("newyork", "paris", "tokyo"),
    "2400:2410::/40": ("tokyo", "sydney", "paris"),
}
NEAR = {
    80: "paris",
    0x2A: "paris",
    23: "newyork",
    0x26: "newyork",
    126: "tokyo",
    0x24: "tokyo",
    127: "sydney",
}
SCOPE_BITS = {4: 17, 6: 36}


class Knowing:
    """Four cities, and a map that goes by the first byte."""

    def __init__(self):
        self.fleet = Fleet(FleetRules(down_after_count=10_000, suspect_after_count=9_999))
        for city, (place, number) in CITIES.items():
            model = ModelReport(name="chat", version="1.0", state="ready", slots=9)
            self.fleet.accept(
                NodeReport(
                    node_id=city, incarnation=1, url=f"https://{city}.example:7710", place=place, models=(model,),
                    addresses=(f"198.51.100.{number}", f"2001:db8::{number}"),
                ),
                time.monotonic(),
            )  # fmt: skip

    def view(self, now_s):
        return self.fleet.view(now_s)

    def catalog(self):
        return CatalogAnswer(releases=(), channels={"chat": {"stable": "1.0"}})

    def network(self):
        return None

    def locate(self, network, now_s):
        city = NEAR.get(network.network_address.packed[0])
        place = CITIES[city][0] if city else None
        return Located(ClientSpot(place=place), min(network.prefixlen, SCOPE_BITS[network.version]))


@pytest.fixture
async def dig():
    zone = Zone(ZONE, name_servers_of(ZONE, (f"ns1.{ZONE}=203.0.113.1+2001:db8:53::1", "ns2.example.net")))
    serving = Serving(Door(zone, Knowing(), keep_s=60), RateLimit(0), Telemetry(), time.monotonic)

    async with listening(("127.0.0.1", "::1"), 0, serving) as bound:
        ports = dict(bound)

        async def ask(*words, host="127.0.0.1"):
            started = await asyncio.create_subprocess_exec(
                "dig", "-p", str(ports[host]), f"@{host}", "+tries=1", "+time=5", "+norecurse", *words,
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            output, _ = await started.communicate()
            text = output.decode()
            assert "malformed" not in text.lower(), text
            return text

        yield ask


def status(text):
    return re.findall(r"status: (\w+)", text)


def section(text, name):
    """The records of one section, in their order."""
    found = re.search(rf";; {name} SECTION:\n(.*?)\n\n", text, re.DOTALL)
    return [re.split(r"\s+", line, maxsplit=4) for line in found[1].splitlines()] if found else []


def answers(text):
    return [record[4] for record in section(text, "ANSWER")]


@pytest.mark.parametrize("how", ["+notcp", "+tcp"])
@pytest.mark.parametrize("subnet", CLIENTS)
async def test_the_right_nodes_in_the_right_order_with_the_right_scope(dig, subnet, how):
    numbers = [CITIES[city][1] for city in CLIENTS[subnet]]
    address, _, bits = subnet.partition("/")
    scope_bits = min(SCOPE_BITS[6 if ":" in address else 4], int(bits))
    for rdtype, form in (("A", "198.51.100.{}"), ("AAAA", "2001:db8::{}")):
        text = await dig(how, f"+subnet={subnet}", f"chat.{ZONE}", rdtype)
        assert answers(text) == [form.format(number) for number in numbers]
        assert re.search(rf"CLIENT-SUBNET: {re.escape(address)}/{bits}/{scope_bits}\n", text)
        assert {record[1] for record in section(text, "ANSWER")} == {"20"}
        assert re.search(r"flags: qr aa;", text)


@pytest.mark.parametrize("subnet", ["0", "0.0.0.0/0", "::/0"])
async def test_a_client_that_asks_not_to_be_looked_at_gets_what_its_resolver_gets(dig, subnet):
    text = await dig(f"+subnet={subnet}", f"chat.{ZONE}")
    assert answers(text) == answers(await dig(f"chat.{ZONE}"))
    assert answers(text)[0] == "198.51.100.4"
    assert re.search(r"CLIENT-SUBNET: \S+/0/0\n", text)
    assert "CLIENT-SUBNET" not in await dig(f"chat.{ZONE}")


async def test_from_an_address_of_ipv6(dig):
    assert len(answers(await dig(f"chat.{ZONE}", "AAAA", host="::1"))) == 3
    assert len(answers(await dig("+tcp", f"chat.{ZONE}", "AAAA", host="::1"))) == 3


async def test_the_zone_says_who_answers_for_it(dig):
    assert answers(await dig(ZONE, "NS")) == [f"ns1.{ZONE}.", "ns2.example.net."]
    assert [record[4] for record in section(await dig(ZONE, "NS"), "ADDITIONAL")] == [
        "203.0.113.1",
        "2001:db8:53::1",
    ]
    (soa,) = answers(await dig(ZONE, "SOA"))
    assert soa.startswith(f"ns1.{ZONE}. hostmaster.{ZONE}. ")
    assert answers(await dig(f"ns1.{ZONE}")) == ["203.0.113.1"]


async def test_ports_travel_in_https_records(dig):
    first = answers(await dig("+subnet=80.1.2.0/24", f"chat.{ZONE}", "HTTPS"))[0]
    assert first == f"1 paris.nodes.{ZONE}. port=7710 ipv4hint=198.51.100.1 ipv6hint=2001:db8::1"
    assert answers(await dig(f"paris.nodes.{ZONE}")) == ["198.51.100.1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nope." + ZONE,), "NXDOMAIN"),
        (("chat." + ZONE, "MX"), "NOERROR"),
        (("www.example.com",), "REFUSED"),
        (("-c", "CH", "version.bind", "TXT"), "REFUSED"),
        (("-c", "HS", ZONE), "REFUSED"),
        (("+opcode=NOTIFY", ZONE), "NOTIMP"),
        (("+opcode=UPDATE", ZONE), "NOTIMP"),
        (("+opcode=15", ZONE), "NOTIMP"),
        (("+edns=1", "+noednsnegotiation", "chat." + ZONE), "BADVERS"),
        (("+header-only", ZONE), "FORMERR"),
        (("+ednsopt=8:000118180102", "chat." + ZONE), "FORMERR"),
        (
            ("+ednsopt=65001:c0ffee", "+nsid", "+expire", "+keepalive", "+padding=64", "chat." + ZONE),
            "NOERROR",
        ),
        (("-y", "hmac-sha256:key:c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "chat." + ZONE), "NOTAUTH"),
    ],
)
async def test_by_the_book(dig, words, said):
    assert set(status(await dig(*words))) == {said}


async def test_denials_have_the_soa(dig):
    for words in ((f"nope.{ZONE}",), (f"chat.{ZONE}", "MX")):
        (soa,) = section(await dig(*words), "AUTHORITY")
        assert soa[0] == f"{ZONE}."
        assert soa[4].endswith(" 20")


@pytest.mark.parametrize("transfer", ["AXFR", "IXFR=1"])
async def test_the_zone_is_not_given_away(dig, transfer):
    text = await dig(ZONE, transfer)
    assert "Transfer failed" in text
    assert "198.51.100" not in text


async def test_any_is_one_small_record(dig):
    assert answers(await dig("+notcp", f"chat.{ZONE}", "ANY")) == ['"RFC8482" ""']


async def test_several_questions_on_one_connection(dig):
    text = await dig("+tcp", "+keepopen", f"chat.{ZONE}", f"nope.{ZONE}", ZONE)
    assert sorted(status(text)) == ["NOERROR", "NOERROR", "NXDOMAIN"]
