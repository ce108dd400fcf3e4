"""Fleet: which nodes there are, how fresh that knowledge is, and what has been sent to them since.

Nothing here reads a clock: every call takes `now_s`, from any clock that does not go back.

A node is up while it reports, suspect after 2 missed heartbeats, down after 3. Draining is what it says of
itself. When more than half of the nodes fall silent within 5 s, the likelier story is that we are the ones who
are cut off: those nodes are held as suspect instead of down (the quorum of Apache Traffic Control's monitors and
the panic threshold of Envoy answer the same question). The same holds for nodes that we know from another origin
alone while that origin is not heard: it is the origin, or the way to it, that is known to be gone.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from origin.errors import FleetFullError, NodeSupersededError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from origin.api import ModelReport, ModelState, NodeReport, NodeState

ReleaseKey = tuple[str, str]
"""A release's name and version."""

_ROUTED_KEPT_COUNT = 1024


@dataclass(frozen=True, slots=True)
class FleetRules:
    """The thresholds of membership.

    Attributes:
        vanish_window_s: nodes that fall silent within this time of one another vanish together.
        vanish_least_count: fewer nodes than this vanish by ordinary chance (someone stopped them).
        vanish_hold_s: how long nodes that vanished together are held.
        forget_after_s: how long a silent node stays listed as down.
        nodes_limit_count: how many nodes are remembered at most.
    """

    heartbeat_s: float = 1.0
    suspect_after_count: int = 2
    down_after_count: int = 3
    vanish_window_s: float = 5.0
    vanish_least_count: int = 3
    vanish_hold_s: float = 300.0
    forget_after_s: float = 86_400.0
    nodes_limit_count: int = 10_000

    @property
    def suspect_after_s(self) -> float:
        """The age of a report past which its node is suspect."""
        return self.suspect_after_count * self.heartbeat_s

    @property
    def down_after_s(self) -> float:
        """The age of a report past which its node is down."""
        return self.down_after_count * self.heartbeat_s


@dataclass(frozen=True, slots=True)
class Watch:
    """Since when a release has been in its state on a node, and how many bytes were there at that moment."""

    state: ModelState
    since_s: float
    since_bytes: int


@dataclass(frozen=True, slots=True)
class Standing:
    """One node at one moment.

    Attributes:
        held: it is silent, and kept as suspect because most nodes, or the origin that hears it, fell silent with it.
        heard_by: the id of the origin that told us of it; "" when it reports here.
        routed_age_s: for each release, how long ago requests were sent here that no report speaks of yet.
        watches: for each release of the report, since when it is in its state.
    """

    report: NodeReport
    state: NodeState
    age_s: float
    held: bool = False
    heard_by: str = ""
    routed_age_s: Mapping[ReleaseKey, tuple[float, ...]] = field(default_factory=dict)
    watches: Mapping[ReleaseKey, Watch] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FleetView:
    """The whole fleet at one moment, by node id; `isolated` says that nodes are being held."""

    now_s: float
    standings: tuple[Standing, ...]
    isolated: bool
    rules: FleetRules


@dataclass(slots=True)
class _Member:
    report: NodeReport
    seen_s: float
    watches: dict[ReleaseKey, Watch]
    heard_by: str = ""
    routed: deque[tuple[float, ReleaseKey]] = field(default_factory=lambda: deque(maxlen=_ROUTED_KEPT_COUNT))


class Fleet:
    """The nodes that have reported to this origin."""

    def __init__(self, rules: FleetRules) -> None:
        self.rules = rules
        self._members: dict[str, _Member] = {}
        self._origins_heard: frozenset[str] = frozenset()

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
        elif _told_before(report, known.report) or (age_s and known.seen_s >= now_s - age_s):
            return False
        elif (
            report.incarnation < known.report.incarnation and now_s - known.seen_s <= self.rules.down_after_s
        ):
            raise NodeSupersededError(
                f"another process with the node id {report.node_id} started later and reports too; "
                "stop one of them or give this one its own node_id",
                param="incarnation",
            )
        watches = known.watches if known is not None else {}
        self._members[report.node_id] = _Member(
            report,
            now_s - age_s,
            {_key(model): _watched(watches.get(_key(model)), model, now_s) for model in report.models},
            heard_by,
        )
        return True

    def hear_origins(self, origin_ids: frozenset[str]) -> None:
        """Say which other origins are heard now; nodes known from others alone are held while these are not."""
        self._origins_heard = origin_ids

    def reports_heard_here(self) -> tuple[NodeReport, ...]:
        """The last report of every node that reports to this origin."""
        return tuple(member.report for member in self._members.values() if not member.heard_by)

    def note_routed(self, node_id: str, release: ReleaseKey, now_s: float) -> None:
        """Remember that a request was sent to a node, until the node's next heartbeat speaks for itself."""
        member = self._members.get(node_id)
        if member is not None:
            member.routed.append((now_s, release))

    def view(self, now_s: float) -> FleetView:
        """Every node with its state; nodes silent for too long are forgotten."""
        for node_id in [i for i, m in self._members.items() if now_s - m.seen_s > self.rules.forget_after_s]:
            del self._members[node_id]
        held = self._vanished_together(now_s) | self._out_of_hearing(now_s)
        standings = tuple(self._standing(node_id, now_s, held) for node_id in sorted(self._members))
        return FleetView(now_s, standings, any(s.held for s in standings), self.rules)

    def _standing(self, node_id: str, now_s: float, vanished: set[str]) -> Standing:
        member = self._members[node_id]
        age_s = now_s - member.seen_s
        silent = age_s > self.rules.down_after_s
        held = silent and node_id in vanished
        state: NodeState = "up"
        if silent and not held:
            state = "down"
        elif member.report.draining:
            state = "draining"
        elif age_s > self.rules.suspect_after_s:
            state = "suspect"
        routed: dict[ReleaseKey, tuple[float, ...]] = {}
        for sent_s, release in member.routed:
            routed[release] = (*routed.get(release, ()), now_s - sent_s)
        return Standing(member.report, state, age_s, held, member.heard_by, routed, member.watches)

    def _out_of_hearing(self, now_s: float) -> set[str]:
        """Nodes that were last heard by an origin that is not heard itself."""
        return {
            node_id
            for node_id, member in self._members.items()
            if member.heard_by
            and member.heard_by not in self._origins_heard
            and now_s - member.seen_s <= self.rules.vanish_hold_s
            and not member.report.draining
        }

    def _vanished_together(self, now_s: float) -> set[str]:
        """Nodes that fell silent within one window of 5 s, where they were more than half of those alive then."""
        rules = self.rules
        # A node that said it was leaving has not vanished.
        members = sorted((m.seen_s, i) for i, m in self._members.items() if not m.report.draining)
        seen_s = [seen for seen, _ in members]
        # Suspects count too: within one heartbeat they are as silent as the first that is found to be down.
        silent_count = bisect_left(seen_s, now_s - rules.suspect_after_s)
        oldest = bisect_left(seen_s, now_s - rules.vanish_hold_s)
        vanished: set[str] = set()
        for first in range(oldest, silent_count):
            last = bisect_right(seen_s, seen_s[first] + rules.vanish_window_s, hi=silent_count)
            gone_count, alive_count = last - first, len(members) - first
            if gone_count >= rules.vanish_least_count and 2 * gone_count > alive_count:
                vanished.update(node_id for _, node_id in members[first:last])
        return vanished

    def _make_room(self, now_s: float) -> None:
        if len(self._members) < self.rules.nodes_limit_count:
            return
        oldest = min(self._members, key=lambda node_id: self._members[node_id].seen_s)
        if now_s - self._members[oldest].seen_s <= self.rules.down_after_s:
            raise FleetFullError(
                f"{len(self._members)} nodes report to this origin already, which is its limit; use another origin"
            )
        del self._members[oldest]


def _told_before(report: NodeReport, known: NodeReport) -> bool:
    """Whether a report is no later than the known one of the same start; nodes that do not count never are."""
    return report.incarnation == known.incarnation and 0 < report.number <= known.number


def _key(model: ModelReport) -> ReleaseKey:
    return model.name, model.version


def _watched(before: Watch | None, model: ModelReport, now_s: float) -> Watch:
    if before is not None and before.state == model.state and before.since_bytes <= model.fetched_bytes:
        return before
    return Watch(model.state, now_s, model.fetched_bytes)
