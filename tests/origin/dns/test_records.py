"""What the zone holds: addresses in the order of the choice, ports where a record can carry them, denials with SOA."""

import dataclasses

import dns.rdatatype
import pytest
from dns.rcode import NOERROR, NXDOMAIN, SERVFAIL

from origin.dns.choice import Choice, NodeAddress
from origin.dns.directory import Target
from origin.dns.labels import zone_bytes
from origin.dns.records import Zone, depends_on_client, reply_of
from origin.dns_settings import name_servers_of

ZONE = Zone(
    "example.org",
    name_servers_of("example.org", ("ns1.example.org=203.0.113.1+2001:db8::1", "ns.example.net")),
    serial=7,
)
MODEL = Target(b"\4chat" + zone_bytes("example.org"), "model")
APEX = Target(zone_bytes("example.org"), "apex")


def node(number, port=7710, *, secure=False, ipv4=True, ipv6=True):
    return NodeAddress(
        f"N.{number}", port, secure,
        (f"198.51.100.{number}",) if ipv4 else (), (f"2001:db8::{number}",) if ipv6 else (),
        f"http://n{number}:{port}", "1.0",
    )  # fmt: skip


def reply(rdtype, *nodes, target=MODEL, choice=None):
    return reply_of(ZONE, target, dns.rdatatype.from_text(rdtype), choice or Choice(nodes))


def texts(found):
    return [record.to_text() for rrset in found.answer for record in rrset]


def is_denial(found):
    return not found.answer and [rrset.rdtype for rrset in found.authority] == [dns.rdatatype.SOA]


def test_addresses_in_the_order_of_the_choice():
    nodes = [node(number) for number in (9, 3, 7, 1)]
    assert texts(reply("A", *nodes)) == ["198.51.100.9", "198.51.100.3", "198.51.100.7"]
    assert texts(reply("AAAA", *nodes)) == ["2001:db8::9", "2001:db8::3", "2001:db8::7"]


def test_each_family_has_the_best_that_have_it():
    nodes = [node(1, ipv6=False), node(2, ipv6=False), node(3, ipv6=False), node(4, ipv4=False)]
    assert texts(reply("A", *nodes)) == ["198.51.100.1", "198.51.100.2", "198.51.100.3"]
    assert texts(reply("AAAA", *nodes)) == ["2001:db8::4"]
    found = reply("AAAA", *nodes[:3])
    assert found.rcode == NOERROR
    assert is_denial(found)


def test_nodes_on_another_port_are_not_where_clients_would_knock():
    assert texts(reply("A", node(1, 7711), node(2))) == ["198.51.100.2"]
    assert is_denial(reply("A", node(1, 7711)))


def test_however_many_addresses_they_fit_into_a_packet():
    many = [
        NodeAddress(f"n{a}", 7710, False, (), tuple(f"2001:db8:{a}::{b}" for b in range(8)), "")
        for a in range(8)
    ]
    zone = dataclasses.replace(ZONE, nodes_count=8)
    found = reply_of(zone, MODEL, dns.rdatatype.AAAA, Choice(tuple(many)))
    assert len(texts(found)) * (16 + 12) + 12 + 255 + 4 + 11 + 24 <= 1232
    assert texts(found)[0] == "2001:db8::"


def test_https_records_carry_rank_and_port():
    nodes = [node(5, 443, secure=True), node(1, 7710, secure=True, ipv6=False), node(2)]
    assert texts(reply("HTTPS", *nodes)) == [
        '1 n-5.nodes.example.org. ipv4hint="198.51.100.5" ipv6hint="2001:db8::5"',
        '2 n-1.nodes.example.org. port="7710" ipv4hint="198.51.100.1"',
    ]
    # RFC 9460 section 9.5: such a record makes clients turn http into https.
    assert is_denial(reply("HTTPS", node(2)))


def test_text_for_people():
    assert texts(reply("TXT", node(1))) == ['"node=N.1" "url=http://n1:7710" "version=1.0"']
    odd = NodeAddress("a", 1, False, (), (), 'http://"ü\\' + "x" * 300, "")
    (text,) = texts(reply("TXT", odd))
    assert text.startswith('"node=a" "url=http://???')
    assert len(text) < 280


def test_the_apex():
    (soa,) = texts(reply("SOA", target=APEX))
    assert soa == "ns1.example.org. hostmaster.example.org. 7 7200 900 1209600 20"
    found = reply("NS", target=APEX)
    assert texts(found) == ["ns1.example.org.", "ns.example.net."]
    assert [r.to_text() for rrset in found.additional for r in rrset] == ["203.0.113.1", "2001:db8::1"]


def test_a_name_server():
    server = Target(zone_bytes("ns1.example.org"), "name_server", addresses=("203.0.113.1", "2001:db8::1"))
    assert texts(reply("A", target=server)) == ["203.0.113.1"]
    assert texts(reply("AAAA", target=server)) == ["2001:db8::1"]
    assert is_denial(reply("TXT", target=server))


@pytest.mark.parametrize("target", [APEX, MODEL])
def test_any_is_one_small_record(target):
    assert texts(reply("ANY", node(1), target=target)) == ['"RFC8482" ""']


@pytest.mark.parametrize("rdtype", ["MX", "CAA", "SRV", "CNAME", "DS", "TYPE65280"])
def test_other_types_are_denied_for_names_that_exist(rdtype):
    found = reply(rdtype, node(1))
    assert found.rcode == NOERROR
    assert is_denial(found)


def test_names_that_do_not_exist():
    found = reply_of(ZONE, None, dns.rdatatype.A, None)
    assert found.rcode == NXDOMAIN
    assert is_denial(found)
    assert found.authority[0].ttl == ZONE.ttl_s  # RFC 2308: the lesser of TTL and minimum counts


def test_who_knows_of_no_node_cannot_deny():
    assert reply("A", choice=Choice(known=False)).rcode == SERVFAIL
    assert not reply("A", choice=Choice(known=False)).authoritative
    assert reply("MX", choice=Choice(known=False)).rcode == NOERROR
    assert is_denial(reply("A", choice=Choice(known=True)))


@pytest.mark.parametrize(
    ("rdtype", "kind", "varies"),
    [
        ("A", "model", True),
        ("TXT", "apex", True),
        ("SOA", "apex", False),
        ("A", "node", False),
        ("A", "name_server", False),
    ],
)
def test_what_depends_on_the_client(rdtype, kind, varies):
    assert depends_on_client(Target(b"\0", kind), dns.rdatatype.from_text(rdtype)) is varies
