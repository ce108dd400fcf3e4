"""Door: a packet and its sender in, the answer's bytes out; keeps choices and encoded answers in between.

The fleet is looked at once in `view_s`, or more seldom if it is large. A kept answer goes when a node that it names
has changed; what load, round trips and new nodes would move is chosen anew when it is `answer_s` old. Both are short
beside the TTL for which resolvers keep an answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from dns.rcode import SERVFAIL
from dns.rdatatype import SOA

from origin.dns.choice import chosen
from origin.dns.encoded import KEPT_TYPES, Encoded, Plain, composed, encoded, recognised
from origin.dns.kept import Kept
from origin.dns.labels import is_below, zone_bytes
from origin.dns.messages import Answered, respond
from origin.dns.records import Reply, depends_on_client, needed, reply_of, soa_names
from origin.dns.roster import Roster
from origin.dns.subnet import client_at, network_of, shortened
from origin.geo.client_spot import NOWHERE

if TYPE_CHECKING:
    from dns.name import Name
    from dns.rdatatype import RdataType

    from origin.api import CatalogAnswer
    from origin.dns.choice import Choice
    from origin.dns.directory import Target
    from origin.dns.records import Zone
    from origin.dns.subnet import Network, Subnet
    from origin.fleet import FleetView
    from origin.geo.client_spot import ClientSpot
    from origin.geo.network import Network as RoundTrips

_LOOK_S_PER_NODE = 0.0005  # so that looks take a small part of the time, however many nodes there are
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

    def network(self) -> RoundTrips | None:
        """Round trips that were measured; None while none are kept."""

    def locate(self, network: Network, now_s: float) -> Located:
        """Where a client's network is."""


class _Chosen(NamedTuple):
    """A choice, for what it was made, and from when until when it is good."""

    target: Target
    choice: Choice
    scope_bits: int
    epoch: int
    expires_s: float


class _KeptAnswer(NamedTuple):
    """An encoded answer, with the choice that it tells and the epoch in which both were last found to be good."""

    encoded: Encoded
    chosen: _Chosen | None
    epoch: int


class Door:
    """The zone, answering.

    Args:
        zone: what does not change.
        knowing: the fleet, the catalog and the map.
        keep_s: how long nodes that fell silent stand in when nobody answers.
        view_s: how often the fleet is looked at; beyond 2,000 nodes more seldom, at 10,000 every 5 s.
        answer_s: how long a choice is kept while no node of it changes.
    """

    def __init__(
        self, zone: Zone, knowing: Knowing, *, keep_s: float, view_s: float = 1.0, answer_s: float = 5.0
    ) -> None:
        self.zone = zone
        self.roster = Roster(zone)
        self._knowing = knowing
        self._keep_s, self._view_s, self._answer_s = keep_s, view_s, answer_s
        self._apex = zone_bytes(zone.name)
        self._looked_s = float("-inf")
        # Names that the SOA spells out: a question for one below them lets it point further into the question.
        self._spelled_out = tuple(zone_bytes(name) for name in soa_names(zone))
        self._denials: dict[int, Encoded] = {}
        self._choices: Kept[tuple[bytes, str, ClientSpot], _Chosen] = Kept(_GENERATION_COUNT)
        self._answers: Kept[bytes, _KeptAnswer] = Kept(_GENERATION_COUNT)
        self._bodies: Kept[tuple[bytes, bytes, Choice | None], Encoded] = Kept(_GENERATION_COUNT)

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
            target = self.roster.directory.get(wire)
            if target is None and not self.roster.certain:
                return Answered(Reply(SERVFAIL), 0)
            found = self._chosen(target, _client(subnet, address), now_s) if target else None
            choice = found.choice if found else None
            varies = target is not None and depends_on_client(target, rdtype)
            scope_bits = found.scope_bits if found and varies else 0
            return Answered(reply_of(self.zone, target, rdtype, choice), scope_bits)

        return respond(packet, lookup, stream=stream)

    def _encoded(self, plain: Plain, address: bytes, now_s: float) -> Encoded | None:
        rdtype = KEPT_TYPES.get(plain.type_and_class)
        if rdtype is None:
            return None
        target = self.roster.directory.get(plain.name)
        if target is None:
            return self._denial(plain)
        client = _client(plain.subnet, address) if depends_on_client(target, rdtype) else b""
        key = plain.name + plain.type_and_class + client
        kept = self._answers.get(key)
        if kept is None or not self._good(kept, target, now_s):
            kept = self._encoded_anew(plain, target, rdtype, client, now_s)
            self._answers.put(key, kept)
        elif kept.epoch != self.roster.epoch:
            self._answers.put(key, kept._replace(epoch=self.roster.epoch))
        return kept.encoded

    def _good(self, kept: _KeptAnswer, target: Target, now_s: float) -> bool:
        if kept.chosen is None:
            return kept.epoch == self.roster.epoch
        if kept.epoch == self.roster.epoch:
            return now_s < kept.chosen.expires_s
        return self._still_good(kept.chosen, target, now_s)

    def _still_good(self, found: _Chosen, target: Target, now_s: float) -> bool:
        """Whether a choice is what it was: nothing is as old as it may be, and nobody in it has changed."""
        if now_s >= found.expires_s or found.target is not target:
            return False
        if found.epoch == self.roster.epoch:
            return True
        nodes = found.choice.nodes
        # Where nobody could answer, any change may be the end of that.
        if not nodes or found.choice.stale:
            return False
        return self.roster.unchanged_since(found.epoch, (node.node_id for node in nodes))

    def _denial(self, plain: Plain) -> Encoded | None:
        """That there is no such name: but for the question the same bytes for all names of one length."""
        if not is_below(plain.name, self._apex) or plain.name.endswith(self._spelled_out):
            return None
        if not self.roster.certain:
            return None
        kept = self._denials.get(len(plain.name))
        if kept is None:
            kept = encoded(plain, reply_of(self.zone, None, SOA, None))
            self._denials[len(plain.name)] = kept
        return kept

    def _encoded_anew(
        self, plain: Plain, target: Target, rdtype: RdataType, client: bytes, now_s: float
    ) -> _KeptAnswer:
        found = self._chosen(target, client, now_s)
        choice = found.choice if found else None
        key = (plain.name, plain.type_and_class, choice)
        body = self._bodies.get(key)
        if body is None:
            body = encoded(plain, reply_of(self.zone, target, rdtype, choice))
            self._bodies.put(key, body)
        if found is not None and depends_on_client(target, rdtype):
            body = body._replace(scope_bits=found.scope_bits)
        return _KeptAnswer(body, found, self.roster.epoch)

    def _chosen(self, target: Target, client: bytes, now_s: float) -> _Chosen | None:
        """The nodes for a target and a client; None where the name has none to choose from."""
        if target.kind not in {"apex", "model", "node"}:
            return None
        spot, scope_bits, session = NOWHERE, 0, ""
        if client and target.kind != "node":
            spot, scope_bits = self._knowing.locate(network_of(client), now_s)
            # Whoever shares the scope shares the hash, or resolvers would mix up answers that differ.
            session = shortened(client, scope_bits)
        key = (target.name, session, spot)
        found = self._choices.get(key)
        if found is None or not self._still_good(found, target, now_s):
            choice = self._choose(target, spot, session, now_s)
            found = _Chosen(
                target, choice, 0 if choice.shared else scope_bits, self.roster.epoch, now_s + self._answer_s
            )
            self._choices.put(key, found)
        return found

    def _choose(self, target: Target, spot: ClientSpot, session: str, now_s: float) -> Choice:
        roster = self.roster
        choice = chosen(
            self._knowing.view(now_s),
            roster.reports,
            roster.catalog,
            target,
            spot,
            session,
            network=self._knowing.network(),
            limit_count=roster.ranked_count,
            keep_s=self._keep_s,
        )
        return choice._replace(nodes=needed(self.zone, choice.nodes))

    def _look(self, now_s: float) -> None:
        if now_s - self._looked_s >= max(self._view_s, _LOOK_S_PER_NODE * len(self.roster.reports)):
            self._looked_s = now_s
            self.roster.look(self._knowing.view(now_s).standings, self._knowing.catalog())


def _client(subnet: Subnet | None, address: bytes) -> bytes:
    """The network to answer for: the client's where it is told, else that of who asks."""
    return subnet.client if subnet is not None and subnet.client else client_at(address)
