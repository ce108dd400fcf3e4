"""The walk: the nodes with the least scores, exactly, without looking at those that are too far away to be among them.

Branch and bound (A. H. Land and A. G. Doig, Econometrica 28(3), 1960) in the order of the network's share of the
score: no other term is below zero, so once the network alone costs more than the worst score that is still wanted,
nobody further away can be. The result is that of scoring every node.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from origin.geo.score import renew, score_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from origin.geo.nearness import Near, Order
    from origin.geo.score import Prompt
    from origin.member import Offer, Seat
    from origin.pool import Pool
    from origin.standing import FleetRules


@dataclass(frozen=True, slots=True)
class Want:
    """What may answer.

    Attributes:
        version: None for any.
        channels: which version each channel points at; preferred on a node that has several.
        warm: ids of nodes to which the client has a connection: a request there takes one round trip.
    """

    version: str | None
    channels: Mapping[str, str]
    exclude: frozenset[str]
    warm: frozenset[str]
    prompt: Prompt


class Scored(NamedTuple):
    """A node with its score; they sort by it."""

    score_s: float
    node_id: str
    near: Near
    offer: Offer


@dataclass(slots=True)
class Walked:
    """What a walk has found.

    Attributes:
        ready: nodes that answer, by score: the `limit` best, and all within the band of the best.
        loading: nodes that do not answer yet, by score; complete where fewer than `limit` are ready.
        least_rtt_ms: of all that answer.
    """

    ready: list[Scored] = field(default_factory=list)
    loading: list[Scored] = field(default_factory=list)
    least_rtt_ms: float = float("inf")


class Walk:
    """One search through a pool.

    Args:
        band: how far above the best score others still count as equal to it.
    """

    def __init__(
        self,
        pool: Pool,
        order: Order,
        want: Want,
        rules: FleetRules,
        now_s: float,
        *,
        limit_count: int,
        band_s: Callable[[float], float],
    ) -> None:
        self._pool = pool
        self._order = order
        self._want = want
        self._rules = rules
        self._now_s = now_s
        self._limit_count = limit_count
        self._band_s = band_s
        self._others = pool.measured(now_s, rules.heartbeat_s)
        self._best_s = float("inf")
        self._top_s: list[float] = []  # the `limit` least scores
        self._cut_s = float("inf")
        self._walked = Walked()

    def run(self) -> Walked:
        """Walk until nobody further away can matter."""
        want, order, walked = self._want, self._order, self._walked
        for node_id in want.warm:
            seat = self._pool.seats.get(node_id)
            if seat is not None and seat.member.open and node_id not in want.exclude:
                self._try(order.near(seat), warm=True)
        passed_over = want.exclude | want.warm
        # With marks nothing is known to be left to read.
        floor_s = 0.0 if want.prompt.marks else want.prompt.tokens_count * self._others.least_token_s
        entries, index = order.entries, 0
        while True:
            if index == len(entries):
                if order.horizon_s + floor_s > self._cut_s or not order.extend():
                    break
                continue
            near = entries[index]
            index += 1
            if near[0] + floor_s > self._cut_s:
                break
            if near[2].member.open and near[1] not in passed_over:
                self._try(near, warm=False)
        walked.ready = sorted(scored for scored in walked.ready if scored[0] <= self._cut_s)
        walked.loading.sort()
        return walked

    def _try(self, near: Near, *, warm: bool) -> None:
        offer = best_offer(near[2], self._want)
        if offer is None:
            return
        if self._now_s >= offer.good_until_s:
            renew(offer, self._others, self._rules, self._now_s)
        score = score_s(near, offer, self._want.prompt, warm=warm)
        scored = Scored(score, near.node_id, near, offer)
        if not offer.answers:
            self._walked.loading.append(scored)
            return
        self._walked.least_rtt_ms = min(self._walked.least_rtt_ms, near.rtt_ms)
        if score > self._cut_s:
            return
        self._walked.ready.append(scored)
        if len(self._top_s) < self._limit_count or score < self._top_s[-1]:
            insort(self._top_s, score)
            del self._top_s[self._limit_count :]
        self._best_s = min(self._best_s, score)
        if len(self._top_s) == self._limit_count:
            self._cut_s = max(self._top_s[-1], self._best_s + self._band_s(self._best_s))


def best_offer(seat: Seat, want: Want) -> Offer | None:
    """The release that this node would answer from: a ready one, of the version that its channel points at."""
    offers = seat.offers
    if len(offers) == 1:
        offer = offers[0]
        fits = (offer.answers or offer.loading) and want.version in {None, offer.version}
        return offer if fits else None
    wanted = want.version or want.channels.get(seat.member.report.channel)
    return max(
        (
            offer
            for offer in offers
            if (offer.answers or offer.loading) and want.version in {None, offer.version}
        ),
        key=lambda offer: (offer.answers, offer.version == wanted, offer.model.state, offer.version),
        default=None,
    )
