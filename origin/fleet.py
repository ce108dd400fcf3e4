"""Fleet: which nodes there are, how fresh that knowledge is, and what has been sent to them since.

Nothing here reads a clock: every call takes `now_s`, from any clock that does not go back. Nothing costs more in a
large fleet than in a small one, but what looks at all of it: a heartbeat changes one member, `view` looks at no
member whose deadline has not passed, and pools keep the nodes of each model together.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from origin.company import Company
from origin.errors import FleetFullError, NodeSupersededError
from origin.member import Member
from origin.membership import Membership
from origin.pool import Pool
from origin.spaces import Spaces
from origin.standing import FleetRules, ReleaseKey, Standing, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from origin.api import ModelReport, NodeReport, Place
    from origin.member import Offer, Seat
    from origin.pool import PoolKey

__all__ = ["Fleet", "FleetRules", "FleetView", "ReleaseKey", "Standing", "Watch"]

_NO_POOL = Pool()


class FleetView:
    """The fleet at one moment: it is looked at as it is used, so use it before the fleet hears anything else."""

    __slots__ = ("_fleet", "now_s", "rules")

    def __init__(self, fleet: Fleet, now_s: float) -> None:
        self._fleet = fleet
        self.now_s = now_s
        self.rules = fleet.rules

    @property
    def standings(self) -> tuple[Standing, ...]:
        """Every node with its state, by node id; the work grows with the fleet."""
        return self._fleet.standings(self.now_s)

    @property
    def isolated(self) -> bool:
        """Whether nodes are being held because most fell silent together."""
        return self._fleet.isolated

    def pool(self, name: str, channel: str | None) -> Pool:
        """The nodes that speak of this model, on this channel or, with None, on any."""
        return self._fleet.pool(name, channel)

    def space(self, name: str, channel: str | None, version: str | None) -> str | None:
        """The space of vectors that requests for a model get now; None where no node speaks of any."""
        return self._fleet.space(name, channel, version, self.now_s)


class Fleet:
    """The nodes that have reported, to this origin or to another that told of it.

    Attributes:
        on_routed: called with the node, the release and the travel time of every request that is sent from here.
    """

    def __init__(self, rules: FleetRules) -> None:
        self.rules = rules
        self.on_routed: Callable[[str, ReleaseKey, float], None] | None = None
        self._members: OrderedDict[str, Member] = OrderedDict()  # the one that was heard last comes last
        self._membership = Membership(rules)
        self._company = Company()
        self._pools: dict[PoolKey, Pool] = {}
        self._spaces = Spaces()

    @property
    def isolated(self) -> bool:
        """Whether nodes are being held because most fell silent together."""
        return self._membership.held_count > 0

    def accept(self, report: NodeReport, now_s: float, *, heard_by: str = "", age_s: float = 0.0) -> bool:
        """Take in a heartbeat; False when it tells nothing new: it came twice, or after a later one.

        Args:
            report: what the node says of itself.
            now_s: the time.
            heard_by: the id of the origin that heard it; "" when the node reports here.
            age_s: how long ago it was heard.

        Raises:
            NodeSupersededError: a later start of a node with this id reports and is alive.
            FleetFullError: the node is new and there is no room.
        """
        known = self._members.get(report.node_id)
        if known is None:
            self._make_room(now_s)
            member = self._members[report.node_id] = Member(report, now_s - age_s, self._company)
            member.heard_by = heard_by
            self._reseat(member, report, now_s - age_s)
            self._membership.join(member)
            return True
        if _told_before(report, known.report) or now_s - age_s < known.seen_s:
            return False
        if report.incarnation < known.report.incarnation and now_s - known.seen_s <= self.rules.down_after_s:
            raise NodeSupersededError(
                f"another process with the node id {report.node_id} started later and reports too; "
                "stop one of them or give this one its own node_id",
                param="incarnation",
            )
        before = known.report
        if not before.draining:  # a silence that was announced speaks against nobody
            arrived_count = _arrived_count(report) - _arrived_count(before)
            same_start = report.incarnation == before.incarnation
            known.doubts.note_beat(
                now_s - known.seen_s,
                self.rules.heartbeat_s,
                max(0, arrived_count) if same_start else 0,
                now_s,
            )
        self._members.move_to_end(report.node_id)
        self._reseat(known, report, now_s - age_s)
        known.heard_by = heard_by
        self._membership.heard(known, was_draining=before.draining)
        return True

    def hear_origins(self, origin_ids: frozenset[str]) -> None:
        """Say which other origins are heard now; nodes known from others alone are held while these are not."""
        self._membership.hear_origins(origin_ids)

    def reports_heard_here(self, now_s: float) -> tuple[NodeReport, ...]:
        """The last report of every node that reports to this origin and is not down."""
        return tuple(
            member.report
            for member in self._members.values()
            if not member.heard_by and now_s - member.seen_s <= self.rules.down_after_s
        )

    def note_routed(self, node_id: str, release: ReleaseKey, now_s: float, *, travel_s: float = 0.0) -> None:
        """Remember that a request was sent to a node, until a heartbeat comes after it has arrived (`travel_s`)."""
        self.note_told(node_id, release, now_s, travel_s=travel_s)
        if self.on_routed is not None:
            self.on_routed(node_id, release, travel_s)

    def note_told(self, node_id: str, release: ReleaseKey, now_s: float, *, travel_s: float = 0.0) -> None:
        """The same of a request that another origin sent there."""
        offer = self._offer(node_id, release)
        if offer is not None:
            offer.send(now_s, travel_s)
            self._members[node_id].touch_model(release[0])

    def note_failed(self, node_id: str, reporter: str, now_s: float) -> bool:
        """Remember that a request to a node failed; whether this reporter's word was new (`origin.doubts`)."""
        member = self._members.get(node_id)
        if member is None or not member.doubts.note_failure(reporter, now_s):
            return False
        member.touch()
        return True

    def view(self, now_s: float) -> FleetView:
        """The fleet now; nodes silent for too long are forgotten."""
        for member in self._membership.advance(now_s):
            self._forget(member)
        return FleetView(self, now_s)

    def standings(self, now_s: float) -> tuple[Standing, ...]:
        """Every node with its state, by node id, as of the last `view`."""
        return tuple(self._members[node_id].standing(now_s) for node_id in sorted(self._members))

    def places(self, node_ids: Iterable[str]) -> dict[str, Place | None]:
        """Where these nodes say they are; those that nobody knows are left out."""
        known = self._members
        return {node_id: known[node_id].report.place for node_id in node_ids if node_id in known}

    def pool(self, name: str, channel: str | None) -> Pool:
        """The nodes that speak of this model, on this channel or, with None, on any."""
        return self._pools.get((name, channel), _NO_POOL)

    def space(self, name: str, channel: str | None, version: str | None, now_s: float) -> str | None:
        """The space of vectors that requests for a model get now; None where no node speaks of any."""
        return self._spaces.chosen(name, channel, version, self.pool, now_s)

    def _offer(self, node_id: str, release: ReleaseKey) -> Offer | None:
        member = self._members.get(node_id)
        return member.offer(release) if member is not None else None

    def _reseat(self, member: Member, report: NodeReport, now_s: float) -> None:
        """Let a member take a report, and keep the pools in step with what it speaks of and where it is."""
        before = member.report
        moved = (before.channel, before.place, before.url) != (report.channel, report.place, report.url)
        seats = set(member.seats)
        member.take(report, now_s)
        for name in seats:
            if moved or not member.seats[name].offers:
                self._stand_up(before, name)
            if not member.seats[name].offers:
                del member.seats[name]
        for name, seat in member.seats.items():
            if moved or name not in seats:
                self._sit_down(seat)
            self._note_rates(seat)

    def _sit_down(self, seat: Seat) -> None:
        for channel in (seat.member.report.channel, None):
            key = (seat.name, channel)
            pool = self._pools.get(key)
            if pool is None:  # not by setdefault: a pool lays out its columns when it is made
                pool = self._pools[key] = Pool()
                self._spaces.opened(key)
            pool.put(seat)

    def _stand_up(self, report: NodeReport, name: str) -> None:
        for key in ((name, report.channel), (name, None)):
            pool = self._pools[key]
            pool.drop(report.node_id)
            if not pool.seats:
                del self._pools[key]
                self._spaces.closed(key)

    def _note_rates(self, seat: Seat) -> None:
        for offer in seat.offers:
            if offer.model.prefill_tokens_per_s:
                for channel in (seat.member.report.channel, None):
                    self._pools[seat.name, channel].faster(offer.model.prefill_tokens_per_s)

    def _forget(self, member: Member) -> None:
        del self._members[member.report.node_id]
        self._membership.leave(member)
        for name in member.seats:
            self._stand_up(member.report, name)

    def _make_room(self, now_s: float) -> None:
        if len(self._members) < self.rules.nodes_limit_count:
            return
        oldest = next(iter(self._members.values()))
        if now_s - oldest.seen_s <= self.rules.down_after_s:
            raise FleetFullError(
                f"{len(self._members)} nodes report to this origin already, which is its limit; use another origin"
            )
        self._forget(oldest)


def _told_before(report: NodeReport, known: NodeReport) -> bool:
    """Whether a report is no later than the known one of the same start; nodes that do not count never are."""
    return report.incarnation == known.incarnation and 0 < report.number <= known.number


def _arrived_count(report: NodeReport) -> int:
    models: tuple[ModelReport, ...] = report.models
    return sum(model.arrived_count for model in models)
