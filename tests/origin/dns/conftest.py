"""A zone over three cities, whose clients' places are told by the first byte of their address."""

import struct
from types import SimpleNamespace

import dns.edns
import dns.message
import pytest

from origin.api import CatalogAnswer, ModelReport, NodeReport, Place, ReleaseSummary
from origin.dns.door import Door, Located
from origin.dns.records import Zone
from origin.dns_settings import name_servers_of
from origin.fleet import Fleet, FleetRules
from origin.geo.client_spot import ClientSpot

ZONE = "route.example.org"
CITIES = {"paris": Place(48.86, 2.35), "london": Place(51.51, -0.13), "tokyo": Place(35.68, 139.65)}
NEAR = {80: CITIES["paris"], 0x2A: CITIES["paris"], 120: CITIES["tokyo"], 0x24: CITIES["tokyo"]}
SCOPE_BITS = {4: 16, 6: 32}


class World:
    """A fleet, a catalog and a map, and the door over them."""

    def __init__(self):
        self.fleet = Fleet(FleetRules())
        self.releases = CatalogAnswer(
            releases=tuple(release(name) for name in ("chat", "team/embed.small")),
            channels={"chat": {"stable": "1.0", "canary": "1.1"}, "team/embed.small": {"stable": "1.0"}},
        )
        self.views_count = self.located_count = 0
        self.zone = Zone(
            ZONE,
            name_servers_of(ZONE, (f"ns1.{ZONE}=203.0.113.1+2001:db8::1", "ns2.example.net")),
            serial=7,
        )
        self.door = Door(self.zone, self, keep_s=3600)

    def view(self, now_s):
        self.views_count += 1
        return self.fleet.view(now_s)

    def catalog(self):
        return self.releases

    def network(self):
        return None

    def locate(self, network, now_s):
        self.located_count += 1
        bits = min(network.prefixlen, SCOPE_BITS[network.version])
        where = network.supernet(new_prefix=bits)
        return Located(ClientSpot(prefix=str(where), place=NEAR.get(network.network_address.packed[0])), bits)

    def hear(self, city, now_s=0.0, **fields):
        number = sorted(CITIES).index(city) + 1
        models = (ModelReport(name="chat", version="1.0", state="ready", slots=4, service_s=1.0),)
        fields = {
            "models": models,
            "url": f"http://{city}.example:7710",
            "addresses": (f"198.51.100.{number}", f"2001:db8:1::{number}"),
            "incarnation": 1,
            "node_id": city,
            **fields,
        }
        self.fleet.accept(NodeReport(place=CITIES[city], **fields), now_s)

    def hear_all(self, now_s=0.0, **fields):
        for city in CITIES:
            self.hear(city, now_s, **fields)

    def ask(self, name, rdtype="A", now_s=0.0, address=b"\x50\1\1\1", *, stream=False, **fields):
        """The door's answer, which both ways give alike."""
        packet = question(name, rdtype, **fields)
        answer = self.door.answer(packet, address, now_s, stream=stream)
        assert answer == self.door.answer_slowly(packet, address, now_s, stream=stream)
        return dns.message.from_wire(answer)


def release(name, created_unix_s=1, version="1.0"):
    return ReleaseSummary(
        name=name, version=version, kind="gguf", architecture="llama", quantization="Q4_K_M",
        total_bytes=1, stored_bytes=1, manifest_sha256="0" * 64, created_unix_s=created_unix_s,
    )  # fmt: skip


def subnet_data(text):
    """A client subnet option's data for `80.1.2.0/24`."""
    import ipaddress

    network = ipaddress.ip_network(text)
    kept = network.network_address.packed[: (network.prefixlen + 7) // 8]
    return struct.pack("!HBB", 1 if network.version == 4 else 2, network.prefixlen, 0) + kept


def question(name, rdtype="A", *, subnet=None, id=4711, **fields):  # noqa: A002  # dnspython's word
    """A query's bytes; `subnet` is a network in text or an option's data."""
    if subnet is not None:
        data = subnet_data(subnet) if isinstance(subnet, str) else subnet
        fields["options"] = [dns.edns.GenericOption(8, data)]
    if not name.endswith("."):
        name = f"{name}.{ZONE}." if name else f"{ZONE}."
    return dns.message.make_query(name, rdtype, id=id, **fields).to_wire()


def texts(message):
    """What the answer section says, in its order."""
    return [record.to_text() for rrset in message.answer for record in rrset]


def scope(message):
    """The client subnet option of an answer; None without one."""
    found = [option for option in message.options if option.otype == 8]
    assert len(found) < 2
    return found[0].to_wire() if found else None


@pytest.fixture
def world():
    made = World()
    made.hear_all()
    return made


@pytest.fixture
def wire():
    """How tests write and read messages."""
    return SimpleNamespace(
        question=question, texts=texts, scope=scope, subnet_data=subnet_data, zone=ZONE, release=release
    )


@pytest.fixture
def cities():
    return CITIES
