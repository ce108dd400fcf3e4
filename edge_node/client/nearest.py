"""Which node to ask: the origin's order, corrected by measured round trips, by failures and by load. Pure.

The origin's score is the expected time to the first token; its `network` term rests on an estimate of the round
trip. Where this client has measured it, one measured round trip takes the place of that term: connections are kept,
so there is no handshake. Nodes whose scores differ by less than a measurement's noise stay in the origin's order,
which spreads clients over equals.

A list is good for a minute, and knows nothing of what its client sends meanwhile. So each request of this client that a
node has under way counts with what it adds there to the wait of the next one, by the node's own measure (`each_s`):
one that asks a lot goes to several nodes, as the origin would have sent it.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice, pairwise
from typing import TYPE_CHECKING
from weakref import WeakSet

from edge_node.client.patience import connect_timeout_s
from edge_node.client.round_trips import RoundTrips
from edge_node.client.route_lists import RouteLists

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from edge_node.client.call import Journey
    from edge_node.client.ejection import Ejections
    from origin.api import RankedNode, RouteAnswer

NOISE_S = 0.002
NOISE_SHARE = 0.05
EQUAL_S = 0.010
"""Within this the origin's order is no order of scores: it spreads clients over equals."""
QUEUE_FADES_S = 5.0
"""So long after a list was made, what it says of queues counts for e times less."""
HOPES_COUNT = 3
"""So many nodes of a list, and of earlier lists, are asked whether they live when one has hung or two have failed:
another that hangs would cost a second more."""
BUSY_S = 1.0
BUSY_MOST_S = 30.0


class Nearest:
    """Ranked nodes by model, what this client knows of each, and the choice among them."""

    def __init__(self, ejections: Ejections) -> None:
        self.lists = RouteLists()
        self.round_trips = RoundTrips()
        self.ejections = ejections
        self._busy_until_s: dict[str, float] = {}
        self._answered_s: dict[str, float] = {}
        # Weak, so that a stream that nobody closes is over when it is forgotten.
        self._under_way: WeakSet[Journey] = WeakSet()

    def learn(self, model: str, answer: RouteAnswer, now_s: float) -> RouteAnswer:
        """Remember the origin's answer, and forget what is known of nodes that are in no list any more."""
        # The origin was asked to leave these out. Others that keep failing are given up until it names them again.
        keep = {node.node_id for node in self.lists.nodes(model) if not self.has_room(node, now_s)}
        kept = self.lists.learn(model, answer, now_s, keep=keep)
        known = self.lists.known().keys()
        self.ejections.forget_all_but(known, now_s)
        self.round_trips.forget_all_but(known)
        self._answered_s = {
            node_id: answered_s for node_id, answered_s in self._answered_s.items() if node_id in known
        }
        self._busy_until_s = {
            node_id: until_s
            for node_id, until_s in self._busy_until_s.items()
            if node_id in known and until_s > now_s
        }
        return kept

    def aside(self, model: str, now_s: float) -> frozenset[str]:
        """Ids of the model's nodes that are set aside now."""
        return frozenset(
            node.node_id
            for node in self.lists.nodes(model)
            if self.ejections.aside_s(node.node_id, now_s) > 0
        )

    def unfit(self, model: str, now_s: float) -> frozenset[str]:
        """Ids of nodes that the origin need not name now: set aside, failing again and again, or busy."""
        return self.ejections.unfit(now_s) | frozenset(
            node.node_id
            for node in self.lists.nodes(model)
            if not self.has_room(node, now_s) or self.ejections.keeps_failing(node.node_id)
        )

    def next_node(self, model: str, now_s: float, tried: Collection[str] = ()) -> RankedNode | None:
        """The first of `order`; None when all were tried."""
        return next(iter(self.order(model, now_s, tried)), None)

    def order(
        self, model: str, now_s: float, tried: Collection[str] = (), *, last: bool = False
    ) -> list[RankedNode]:
        """The nodes not tried yet, the best first; busy ones later, then doubted ones, then those set aside.

        A second try goes to a node whose last answer was no failure, if there is one, and the `last` try to the one
        that answered last of all: it is the most certain to work, be it far away.
        """
        return sorted(
            (node for node in self.ranked(model, now_s) if node.node_id not in tried),
            key=lambda node: (
                *self._standing(node.node_id, now_s, again=bool(tried)),
                -self._answered_s.get(node.node_id, 0.0) if last else 0.0,
            ),
        )

    def hopes(
        self, model: str, left: Sequence[RankedNode], now_s: float, tried: Collection[str]
    ) -> list[RankedNode]:
        """Who is asked for a sign of life: the best of `left`, then nodes of earlier lists that are not known to fail.

        Where most of a list is cut off, they need not wait until the last of it has been silent for long enough.
        """
        passed_by = {*tried, *(node.node_id for node in left), *self.ejections.unfit(now_s)}
        former = (node for node in self.lists.former(model) if node.node_id not in passed_by)
        return [*left[:HOPES_COUNT], *islice(former, HOPES_COUNT)]

    def answered(self, node_id: str, now_s: float) -> None:
        """The node answered, be it with a refusal: it works."""
        self.ejections.succeeded(node_id, now_s)
        self._answered_s[node_id] = now_s

    def set_out(self, journey: Journey) -> None:
        """A request goes to a node."""
        self._under_way.add(journey)

    def came_back(self, journey: Journey) -> None:
        """It is over, answered or not; once more says nothing."""
        self._under_way.discard(journey)

    def ranked(self, model: str, now_s: float) -> list[RankedNode]:
        """The model's nodes by their scores with what was measured, and with what this client has under way there."""
        nodes = self.lists.nodes(model)
        counts = self._counts()
        return by_measured_score(
            nodes,
            [self.round_trips.rtt_ms(node.node_id, now_s) for node in nodes],
            [counts[node.node_id] for node in nodes],
            self.lists.age_s(model, now_s),
        )

    def ticket(self, model: str, node: RankedNode, now_s: float) -> str:
        """The signed list to send to this node, so that it may hand the request on.

        Nodes that have requests of this client, or no room, are marked: the list was made before.
        """
        counts = self._counts()
        passed_by = {
            other.node_id
            for other in self.lists.nodes(model)
            if other.node_id != node.node_id and (counts[other.node_id] or not self.has_room(other, now_s))
        }
        return self.lists.ticket(model, now_s, passed_by=passed_by)

    def _counts(self, *, besides: Journey | None = None) -> Counter[str]:
        return Counter(journey.node_id for journey in self._under_way if journey is not besides)

    def busy(self, node_id: str, now_s: float, for_s: float | None) -> None:
        """The node has no room, or not yet: load, not failure. It comes later for `for_s`, at most 30 s."""
        self._busy_until_s[node_id] = now_s + min(BUSY_S if for_s is None else for_s, BUSY_MOST_S)

    def has_room(self, node: RankedNode, now_s: float) -> bool:
        """Whether the node is neither set aside nor busy."""
        aside_s, _, busy_s, _ = self._standing(node.node_id, now_s, again=False)
        return not (aside_s or busy_s)

    def may_take_more(self, node: RankedNode, now_s: float) -> bool:
        """Whether the node is neither set aside nor busy nor failing: fit for a request that need not be sent."""
        return self._standing(node.node_id, now_s, again=True) == (0.0, False, 0.0, False)

    def predicted_s(self, node: RankedNode, now_s: float, journey: Journey | None = None) -> float:
        """The time to the first token, with the measured round trip if there is one, behind what is under way there."""
        rtt_ms = self.round_trips.rtt_ms(node.node_id, now_s)
        return measured_score_s(node, rtt_ms, self._counts(besides=journey)[node.node_id])

    def rtt_ms(self, node: RankedNode, now_s: float) -> float | None:
        """The measured round trip, or else the origin's estimate; None when there is neither."""
        measured_ms = self.round_trips.rtt_ms(node.node_id, now_s)
        return measured_ms if measured_ms is not None else node.rtt_ms or None

    def connect_s(self, node: RankedNode, now_s: float) -> float:
        """How long to wait for a connection to the node."""
        measured_ms = self.round_trips.rtt_ms(node.node_id, now_s)
        return connect_timeout_s(self.rtt_ms(node, now_s), measured=measured_ms is not None)

    def _standing(self, node_id: str, now_s: float, *, again: bool) -> tuple[float, bool, float, bool]:
        return (
            self.ejections.aside_s(node_id, now_s),
            self.ejections.doubted(node_id, now_s),
            max(0.0, self._busy_until_s.get(node_id, 0.0) - now_s),
            again and self.ejections.failing(node_id),
        )


def measured_score_s(
    node: RankedNode, rtt_ms: float | None, under_way_count: int = 0, age_s: float = 0.0
) -> float:
    """The node's score with one measured round trip in place of its `network` term; without one, as it is.

    On top comes what the client's own requests that are under way there add. What others had there when the list was
    made, `age_s` ago, is forgotten within seconds, or a node that was full then would stay empty for a minute.
    """
    forgotten_s = node.terms_s.get("queue", 0.0) * (1 - math.exp(-age_s / QUEUE_FADES_S))
    score_s = node.score_s - forgotten_s + node.each_s * under_way_count
    if rtt_ms is None:
        return score_s
    network_s = node.terms_s.get("network", node.rtt_ms / 1000)
    return max(0.0, score_s - network_s) + rtt_ms / 1000


def by_measured_score(
    nodes: Sequence[RankedNode],
    rtts_ms: Sequence[float | None],
    under_way_counts: Sequence[int] = (),
    age_s: float = 0.0,
) -> list[RankedNode]:
    """The nodes, best first; those within 2 ms or 5 % of the best stay in the order given."""
    if all(rtt_ms is None for rtt_ms in rtts_ms) and not any(under_way_counts):
        return list(nodes)
    under_way_counts = under_way_counts or [0] * len(nodes)
    ready_count = _ready_count(nodes)
    scored = [
        (measured_score_s(node, rtt_ms, count, age_s), node)
        for node, rtt_ms, count in zip(nodes, rtts_ms, under_way_counts, strict=True)
    ]
    found: list[RankedNode] = []
    for part in (scored[:ready_count], scored[ready_count:]):
        least_s = min((score_s for score_s, _ in part), default=0.0)
        limit_s = least_s + max(NOISE_S, NOISE_SHARE * least_s)
        found += [node for _, node in sorted(part, key=lambda one: max(one[0], limit_s))]
    return found


def _ready_count(nodes: Sequence[RankedNode]) -> int:
    """How many come before the scores begin anew: the origin puts nodes that still load after all others."""
    least_s = nodes[0].score_s
    for count, (before, node) in enumerate(pairwise(nodes), start=1):
        equal_s = least_s + max(EQUAL_S, NOISE_SHARE * least_s)
        if node.score_s < before.score_s and before.score_s > equal_s:
            return count
        least_s = min(least_s, node.score_s)
    return len(nodes)
