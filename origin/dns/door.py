"""Door: a packet and its sender in, the answer's bytes out; keeps names, choices and encoded answers in between.

The fleet is looked at once in `view_s`. Names are made anew when nodes, their addresses or states or the catalog have
changed, and all that was kept goes with them; what only load and round trips move is chosen anew when a kept answer
is `answer_s` old. Both are short beside the TTL for which resolvers keep an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from dns.rcode import SERVFAIL
from dns.rdatatype import SOA

from origin.dns.choice import chosen
from origin.dns.directory import directory_of
from origin.dns.encoded import KEPT_TYPES, Encoded, Plain, composed, encoded, recognised
from origin.dns.kept import Kept
from origin.dns.labels import is_below, zone_bytes
from origin.dns.messages import Answered, respond
from origin.dns.records import Reply, depends_on_client, reply_of, soa_names
from origin.dns.subnet import client_at, network_of
from origin.geo.client_spot import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dns.name import Name
    from dns.rdatatype import RdataType

    from origin.api import CatalogAnswer, NodeReport
    from origin.dns.choice import Choice
    from origin.dns.directory import Target
    from origin.dns.records import Zone
    from origin.dns.subnet import Network, Subnet
    from origin.fleet import FleetView, Standing
    from origin.geo.client_spot import ClientSpot

_GENERATION_COUNT = 32_768  # 65,536 answers of about 300 bytes: some 30 MB at most


class Located(NamedTuple):
    """Where a network is, and the shortest prefix around it of which the same is known."""

    spot: ClientSpot
    scope_bits: int


class Knowing(Protocol):
    """What the door asks of the origin."""

    def view(self, now_s: float) -> FleetView:
        """The fleet now, good until it hears anything else."""

    def catalog(self) -> CatalogAnswer | None:
        """Releases and channels; None when they could never be read."""

    def locate(self, network: Network, now_s: float) -> Located:
        """Where a client's network is."""


class _Chosen(NamedTuple):
    choice: Choice
    scope_bits: int
    expires_s: float


class Door:
    """The zone, answering.

    Args:
        zone: what does not change.
        knowing: the fleet, the catalog and the map.
        keep_s: how long nodes that fell silent stand in when nobody answers.
        view_s: how often the fleet is looked at.
        answer_s: how long a choice is kept while nothing but load changes.
    """

    def __init__(
        self, zone: Zone, knowing: Knowing, *, keep_s: float, view_s: float = 1.0, answer_s: float = 5.0
    ) -> None:
        self.zone = zone
        self.epoch = 0
        self._knowing = knowing
        self._keep_s, self._view_s, self._answer_s = keep_s, view_s, answer_s
        self._apex = zone_bytes(zone.name)
        self._looked_s = float("-inf")
        self._signature: object = None
        self._catalog: CatalogAnswer | None = None
        self._reports: Mapping[str, NodeReport] = {}
        self._directory: Mapping[bytes, Target] = {}
        # Names that the SOA spells out: a question for one below them lets it point further into the question.
        self._spelled_out = tuple(zone_bytes(name) for name in soa_names(zone))
        self._denials: dict[int, Encoded] = {}
        self._certain = False
        self._choices: Kept[tuple[bytes, str, ClientSpot], _Chosen] = Kept(_GENERATION_COUNT)
        self._answers: Kept[bytes, Encoded] = Kept(_GENERATION_COUNT)
        self._bodies: Kept[tuple[bytes, bytes, tuple[str, ...]], Encoded] = Kept(_GENERATION_COUNT)

    def answer(self, packet: bytes, address: bytes, now_s: float, *, stream: bool) -> bytes | None:
        """The answer to a packet, or None where silence is right.

        Args:
            packet: as it came.
            address: of who sent it, 4 or 16 bytes.
            now_s: of the fleet's clock.
            stream: whether it came over TCP.
        """
        self._look(now_s)
        plain = recognised(packet)
        if plain is not None:
            kept = self._encoded(plain, address, now_s)
            if kept is not None:
                whole = composed(packet, plain, kept, stream=stream)
                if whole is not None:
                    return whole
        return self.answer_slowly(packet, address, now_s, stream=stream)

    def answer_slowly(self, packet: bytes, address: bytes, now_s: float, *, stream: bool) -> bytes | None:
        """The same through dnspython alone."""
        self._look(now_s)

        def lookup(name: Name, rdtype: RdataType, subnet: Subnet | None) -> Answered | None:
            wire = b"".join(bytes([len(label)]) + label for label in name.labels).lower()
            if not (wire.endswith(self._apex) and name.is_subdomain(self.zone.origin)):
                return None
            target = self._directory.get(wire)
            if target is None and not self._certain:
                return Answered(Reply(SERVFAIL), 0)
            found = self._chosen(target, _client(subnet, address), now_s) if target else None
            choice = found.choice if found else None
            varies = target is not None and depends_on_client(target, rdtype)
            scope_bits = found.scope_bits if found and varies else 0
            return Answered(reply_of(self.zone, target, rdtype, choice), scope_bits)

        return respond(packet, lookup, stream=stream)

    def _encoded(self, plain: Plain, address: bytes, now_s: float) -> Encoded | None:
        rdtype = KEPT_TYPES.get(plain.type_and_class)
        target = self._directory.get(plain.name)
        if rdtype is None:
            return None
        if target is None:
            return self._denial(plain)
        client = _client(plain.subnet, address) if depends_on_client(target, rdtype) else b""
        key = plain.name + plain.type_and_class + client
        kept = self._answers.get(key)
        if kept is None or now_s >= kept.expires_s:
            kept = self._encoded_anew(plain, target, rdtype, client, now_s)
            self._answers.put(key, kept)
        return kept

    def _denial(self, plain: Plain) -> Encoded | None:
        """That there is no such name: but for the question the same bytes for all names of one length."""
        if (
            not is_below(plain.name, self._apex)
            or plain.name.endswith(self._spelled_out)
            or not self._certain
        ):
            return None
        kept = self._denials.get(len(plain.name))
        if kept is None:
            kept = encoded(plain, reply_of(self.zone, None, SOA, None))
            self._denials[len(plain.name)] = kept
        return kept

    def _encoded_anew(
        self, plain: Plain, target: Target, rdtype: RdataType, client: bytes, now_s: float
    ) -> Encoded:
        found = self._chosen(target, client, now_s)
        ids = tuple(node.node_id for node in found.choice.nodes) if found else ()
        key = (plain.name, plain.type_and_class, ids)
        body = self._bodies.get(key)
        if body is None:
            body = encoded(plain, reply_of(self.zone, target, rdtype, found.choice if found else None))
            self._bodies.put(key, body)
        if found is None:
            return body._replace(expires_s=now_s + self._answer_s)
        scope_bits = found.scope_bits if depends_on_client(target, rdtype) else 0
        return body._replace(scope_bits=scope_bits, expires_s=found.expires_s)

    def _chosen(self, target: Target, client: bytes, now_s: float) -> _Chosen | None:
        """The nodes for a target and a client; None where the name has none to choose from."""
        if target.kind not in {"apex", "model", "node"}:
            return None
        spot, scope_bits, session = NOWHERE, 0, ""
        if client and target.kind != "node":
            network = network_of(client)
            spot, scope_bits = self._knowing.locate(network, now_s)
            # Whoever shares the scope shares the hash, or resolvers would mix up answers that differ.
            session = str(network.supernet(new_prefix=min(scope_bits, network.prefixlen)))
        key = (target.name, session, spot)
        found = self._choices.get(key)
        if found is None or now_s >= found.expires_s:
            view = self._knowing.view(now_s)
            choice = chosen(view, self._reports, self._catalog, target, spot, session, keep_s=self._keep_s)
            found = _Chosen(choice, 0 if choice.shared else scope_bits, now_s + self._answer_s)
            self._choices.put(key, found)
        return found

    def _look(self, now_s: float) -> None:
        """Look at the fleet again when it is time; forget what was kept if that changed who can answer."""
        if now_s - self._looked_s < self._view_s:
            return
        self._looked_s = now_s
        standings = self._knowing.view(now_s).standings
        self._catalog = self._knowing.catalog()
        self._reports = {standing.report.node_id: standing.report for standing in standings}
        self._certain = self._catalog is not None and bool(self._reports)
        signature = (self._catalog, _signature(standings))
        if signature == self._signature:
            return
        self._signature = signature
        self.epoch += 1
        self._directory = directory_of(
            self.zone.name, self.zone.servers, self._reports.values(), self._catalog
        )
        self._choices.clear()
        self._answers.clear()
        self._bodies.clear()


def _client(subnet: Subnet | None, address: bytes) -> bytes:
    """The network to answer for: the client's where it is told, else that of who asks."""
    return subnet.client if subnet is not None and subnet.client else client_at(address)


def _signature(standings: tuple[Standing, ...]) -> tuple[object, ...]:
    """All of the fleet that names, addresses and the set of candidates depend on, and nothing that load moves."""
    return tuple(
        (
            standing.report.node_id,
            standing.state,
            standing.report.url,
            standing.report.addresses,
            standing.report.channel,
            tuple((model.name, model.version, model.state) for model in standing.report.models),
        )
        for standing in standings
    )
