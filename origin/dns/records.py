"""Records of a name: what the zone holds for a target, a type of record and the nodes chosen for a client."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from dns.rcode import NOERROR, NXDOMAIN, SERVFAIL, Rcode

from origin.dns.directory import NODES_LABEL
from origin.dns.labels import label_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dns.rdatatype import RdataType
    from dns.rrset import RRset

    from origin.dns.choice import Choice, NodeAddress
    from origin.dns.directory import Target
    from origin.dns_settings import NameServer

A, AAAA, HTTPS, TXT, NS, SOA, HINFO, ANY = (
    dns.rdatatype.A,
    dns.rdatatype.AAAA,
    dns.rdatatype.HTTPS,
    dns.rdatatype.TXT,
    dns.rdatatype.NS,
    dns.rdatatype.SOA,
    dns.rdatatype.HINFO,
    dns.rdatatype.ANY,
)
OF_NODES = frozenset({A, AAAA, HTTPS, TXT})
"""Types whose records depend on the choice of nodes, and so on the client."""

_SERVERS_TTL_S = 3600
_TEXT_LIMIT_BYTES = 255
_ADDRESSES_COUNT = 24  # of IPv6, these and the longest name fit into 1232 bytes


@dataclass(frozen=True, slots=True)
class Zone:
    """What of the zone does not change.

    Attributes:
        name: its name, such as `route.example.org`.
        servers: its name servers; the first is the primary one.
        ttl_s: of nodes' records and of denials.
        nodes_count: nodes in one answer at most.
        node_port: the port that clients write behind a name; nodes on another one are not answered with A and AAAA.
        serial: of the SOA; nobody transfers this zone, so it stays, and all origins say the same.
    """

    name: str
    servers: tuple[NameServer, ...]
    ttl_s: int = 20
    nodes_count: int = 3
    node_port: int = 7710
    serial: int = 1

    @property
    def origin(self) -> dns.name.Name:
        """The zone's name as dnspython has it."""
        return dns.name.from_text(self.name)


@dataclass(frozen=True, slots=True)
class Reply:
    """The sections of an answer. An empty answer has the SOA in its authority section (RFC 2308)."""

    rcode: Rcode
    answer: tuple[RRset, ...] = ()
    authority: tuple[RRset, ...] = ()
    additional: tuple[RRset, ...] = ()

    @property
    def authoritative(self) -> bool:
        """Whether the zone says this; a failure says nothing."""
        return self.rcode != SERVFAIL


def reply_of(zone: Zone, target: Target | None, rdtype: RdataType, choice: Choice | None) -> Reply:
    """What to answer for a name of the zone.

    Args:
        zone: the zone.
        target: what the name stands for; None says that there is no such name.
        rdtype: the type that was asked for.
        choice: the nodes, where the type's records depend on them.
    """
    if target is None:
        return Reply(NXDOMAIN, authority=(_soa(zone),))
    additional: tuple[RRset, ...] = ()
    name = dns.name.from_wire(target.name, 0)[0]
    if rdtype == ANY:  # one small record instead of all of them (RFC 8482 section 4.2)
        found: tuple[RRset, ...] = (_rrset(name, zone.ttl_s, HINFO, ('"RFC8482" ""',)),)
    elif target.kind == "apex" and rdtype == SOA:
        found = (_soa(zone),)
    elif target.kind == "apex" and rdtype == NS:
        found, additional = (_ns(zone),), _glue(zone)
    elif target.kind == "name_server":
        found = _of_family(name, _SERVERS_TTL_S, rdtype, target.addresses)
    else:
        found = _of_nodes(zone, name, rdtype, choice) if choice else ()
    if found:
        return Reply(NOERROR, found, additional=additional)
    # "No such address" would be believed by resolvers; an origin that has heard of nobody cannot say so, and
    # SERVFAIL lets them ask another one.
    known = choice is None or choice.known or rdtype not in OF_NODES
    return Reply(NOERROR, authority=(_soa(zone),)) if known else Reply(SERVFAIL)


def needed(zone: Zone, nodes: tuple[NodeAddress, ...]) -> tuple[NodeAddress, ...]:
    """Those of the ranked nodes that any answer will name, in their order: what a kept choice has to remember."""
    kept = {
        node.node_id
        for some in (
            _on_port(zone, nodes, "ipv4"),
            _on_port(zone, nodes, "ipv6"),
            _secure(zone, nodes),
            nodes[: zone.nodes_count],
        )
        for node in some
    }
    return tuple(node for node in nodes if node.node_id in kept)


def depends_on_client(target: Target, rdtype: RdataType) -> bool:
    """Whether another client might get other records."""
    return rdtype in OF_NODES and target.kind in {"apex", "model"}


def _of_nodes(zone: Zone, name: dns.name.Name, rdtype: RdataType, choice: Choice) -> tuple[RRset, ...]:
    nodes = choice.nodes
    if rdtype == A:
        texts = [text for node in _on_port(zone, nodes, "ipv4") for text in node.ipv4][:_ADDRESSES_COUNT]
    elif rdtype == AAAA:
        texts = [text for node in _on_port(zone, nodes, "ipv6") for text in node.ipv6][:_ADDRESSES_COUNT]
    elif rdtype == HTTPS:
        texts = [_https(zone, node, rank) for rank, node in enumerate(_secure(zone, nodes), 1)]
    elif rdtype == TXT:
        texts = [_text(node) for node in nodes[: zone.nodes_count]]
    else:
        texts = []
    return (_rrset(name, zone.ttl_s, rdtype, texts),) if texts else ()


def _on_port(zone: Zone, nodes: tuple[NodeAddress, ...], family: str) -> list[NodeAddress]:
    """The best nodes that have an address of the family, on the port that clients will use."""
    found = [node for node in nodes if getattr(node, family) and node.port == zone.node_port]
    return found[: zone.nodes_count]


def _secure(zone: Zone, nodes: tuple[NodeAddress, ...]) -> list[NodeAddress]:
    return [node for node in nodes if node.secure and (node.ipv4 or node.ipv6)][: zone.nodes_count]


def _https(zone: Zone, node: NodeAddress, rank: int) -> str:
    """One HTTPS record (RFC 9460): its priority is the node's rank, and it carries the port, which addresses cannot."""
    parts = [str(rank), f"{label_of(node.node_id)}.{NODES_LABEL}.{zone.name}."]
    if node.port != 443:
        parts.append(f"port={node.port}")
    if node.ipv4:
        parts.append(f"ipv4hint={','.join(node.ipv4)}")
    if node.ipv6:
        parts.append(f"ipv6hint={','.join(node.ipv6)}")
    return " ".join(parts)


def _text(node: NodeAddress) -> str:
    """A node in words, for people with `dig`."""
    parts = [
        f"node={node.node_id}",
        f"url={node.url}",
        *([f"version={node.version}"] if node.version else []),
    ]
    return " ".join(f'"{_quoted(part)}"' for part in parts)


def _quoted(text: str) -> str:
    plain = "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text)
    return plain[:_TEXT_LIMIT_BYTES]


def soa_names(zone: Zone) -> tuple[str, str]:
    """The primary name server and the mailbox that the SOA names."""
    return zone.servers[0].host if zone.servers else zone.name, f"hostmaster.{zone.name}"


def _soa(zone: Zone) -> RRset:
    primary, mailbox = soa_names(zone)
    text = f"{primary}. {mailbox}. {zone.serial} 7200 900 1209600 {zone.ttl_s}"
    return _rrset(zone.origin, zone.ttl_s, SOA, (text,))


def _ns(zone: Zone) -> RRset:
    return _rrset(zone.origin, _SERVERS_TTL_S, NS, [f"{server.host}." for server in zone.servers])


def _glue(zone: Zone) -> tuple[RRset, ...]:
    return tuple(
        rrset
        for server in zone.servers
        for rdtype in (A, AAAA)
        for rrset in _of_family(dns.name.from_text(server.host), _SERVERS_TTL_S, rdtype, server.addresses)
    )


def _of_family(
    name: dns.name.Name, ttl_s: int, rdtype: RdataType, addresses: Iterable[str]
) -> tuple[RRset, ...]:
    texts = [text for text in addresses if rdtype == (AAAA if ":" in text else A)]
    return (_rrset(name, ttl_s, rdtype, texts),) if texts else ()


def _rrset(name: dns.name.Name, ttl_s: int, rdtype: RdataType, texts: Iterable[str]) -> RRset:
    records = [dns.rdata.from_text(dns.rdataclass.IN, rdtype, text) for text in texts]
    return dns.rrset.from_rdata_list(name, ttl_s, records)
