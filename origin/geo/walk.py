"""The walk: the nodes with the least scores, exactly, without looking at those that are too far away to be among them.

Branch and bound (A. H. Land and A. G. Doig, Econometrica 28(3), 1960) in the order of the network's share of the
score, a block of nodes at a time: no other term is below zero, so once the network alone costs more than the worst
score that is still wanted, nobody further away can be. The result is that of scoring every node.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from origin.geo.figures import bring_up_to_date
from origin.geo.score import CONNECT_TIMEOUT_S, own_part, terms_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from origin.geo.nearness import Near, Order
    from origin.geo.score import Prompt
    from origin.member import Offer, Seat
    from origin.pool import Pool
    from origin.standing import FleetRules

    Rows = np.ndarray[tuple[int], np.dtype[np.intp]]
    Floats = np.ndarray[tuple[int], np.dtype[np.float64]]

_BLOCK_COUNT = 256
_FINITE_S = 1e300
_SKETCHES_LIMIT_COUNT = 512
"""Whether they have read the prompt is asked of about so many nodes, the nearest: each has to be looked at alone."""


@dataclass(slots=True)  # made for every request, and a frozen one takes three times as long
class Want:
    """What may answer.

    Attributes:
        version: None for any.
        channels: which version each channel points at; preferred on a node that has several.
        warm: ids of nodes to which the client has a connection: a request there takes one round trip.
        limit_count: how many nodes are wanted.
        band_s: how far above the best score others still count as equal to it.
    """

    version: str | None
    channels: Mapping[str, str]
    exclude: frozenset[str]
    warm: frozenset[str]
    prompt: Prompt
    limit_count: int
    band_s: Callable[[float], float]


class Scored(NamedTuple):
    """A node with its score; they sort by it."""

    score_s: float
    node_id: str
    near: Near
    seat: Seat
    offer: Offer


class Walk:
    """One search through a pool.

    Attributes:
        others: what stands in for figures that were not measured.
        ready: nodes that answer, by score: the `limit_count` best, and all within the band of the best.
        nearest_s: the network's share of the nearest that answers.
    """

    def __init__(self, pool: Pool, order: Order, want: Want, rules: FleetRules, now_s: float) -> None:
        self._pool = pool
        self._order = order
        self._want = want
        self._rules = rules
        self._now_s = now_s
        self.others = bring_up_to_date(pool, rules, now_s)
        self._scores_s: list[float] = []
        self.ready: list[Scored] = []
        self.nearest_s = math.inf
        self._cut_s = float("inf")
        self._apart = self._looked_at_alone()
        self._run()

    def terms_s(self, scored: Scored) -> dict[str, float]:
        """A node's score, term by term."""
        near, offer, pool = scored.near, scored.offer, self._pool
        if offer is scored.seat.usual and scored.seat.member.open:
            own = pool.own[pool.row_of[scored.node_id]]
        else:
            own = own_part(offer, self.others, self._rules, self._now_s)
        want = self._want
        network_s = near.rtt_ms / 1000 if scored.node_id in want.warm else near.network_s
        prompt = want.prompt
        unread_tokens = prompt.unread_tokens(offer) if prompt.marks else prompt.tokens_count
        return terms_s(network_s, near.rtt_ms, unread_tokens, own, self._now_s)

    def loading(self) -> list[Scored]:
        """Nodes that do not answer yet and will, by score; the work grows with the pool."""
        found: list[tuple[int, Seat, Offer]] = []
        for row, seat in enumerate(self._pool.rows):
            if seat.answering_count or not seat.member.open or seat.node_id in self._want.exclude:
                continue
            offer = best_offer(seat, self._want)
            if offer is not None:
                found.append((row, seat, offer))
        return sorted(self._looked_at(found))

    def _looked_at_alone(self) -> set[int]:
        """Rows that say nothing for this request: excluded, with a connection, or with several releases."""
        pool, want = self._pool, self._want
        if not (want.exclude or want.warm or pool.several or want.version):
            return set()
        rows = {pool.row_of[node_id] for node_id in want.exclude | want.warm if node_id in pool.row_of}
        several = pool.several if want.version is None else pool.rows
        rows.update(pool.row_of[seat.node_id] for seat in several)
        found: list[tuple[int, Seat, Offer]] = []
        for row in rows:
            seat = pool.rows[row]
            if seat.member.open and seat.node_id not in want.exclude:
                offer = best_offer(seat, want)
                if offer is not None and offer.answers:
                    found.append((row, seat, offer))
        for scored in self._looked_at(found):
            self._take(scored)
        return rows

    def _looked_at(self, found: list[tuple[int, Seat, Offer]]) -> list[Scored]:
        """Rows with their scores, wherever they stand in the order."""
        if not found:
            return []
        nears = self._order.look([row for row, _, _ in found])
        return [self._scored(near, seat, offer) for near, (_, seat, offer) in zip(nears, found, strict=True)]

    def _run(self) -> None:
        """Walk until nobody further away can matter."""
        want, order = self._want, self._order
        unread_s = want.prompt.tokens_count * self.others.least_token_s
        start, size_count = 0, _BLOCK_COUNT
        self._cut()
        while want.version is None:
            # With marks nothing is known to be left to read.
            floor_s = 0.0 if self._marked(start) else unread_s
            if start >= len(order.rows):
                if order.horizon_s + floor_s > self._cut_s or not order.extend():
                    break
                continue
            if order.network_s[start] + floor_s > self._cut_s:
                break
            end = min(start + size_count, len(order.rows))
            self._score_block(start, end)
            start = end
            size_count *= 2
        self.ready.sort()
        while self.ready and self.ready[-1].score_s > self._cut_s:
            self.ready.pop()

    def _score_block(self, start: int, end: int) -> None:
        order, pool, prompt = self._order, self._pool, self._want.prompt
        rows = order.rows[start:end]
        # What is read there before it arrives costs nothing: the longer of the two, and what comes on top of both.
        scores_s = np.maximum(order.network_s[start:end], pool.read_until_s[rows] - self._now_s)
        scores_s += pool.standing_s[rows]
        if self._apart:
            scores_s[np.isin(rows, list(self._apart))] = np.inf
        least_s = scores_s  # with all of the prompt kept there
        if prompt.tokens_count:
            scores_s = scores_s + prompt.tokens_count * pool.token_s[rows]
        if pool.doubtful:
            doubt = pool.doubt[rows]
            doubted = doubt.nonzero()[0]  # the others may be at infinity, which no 0 can be multiplied with
            extra_s = _timeouts_s(order.rtt_ms[start:end][doubted]) + scores_s[doubted]
            scores_s = scores_s.copy()
            scores_s[doubted] += doubt[doubted] * extra_s
        if self.nearest_s == math.inf:
            self._note_nearest(start, scores_s)
        cut_s = self._cut_of(scores_s)
        if self._marked(start):
            self._take_block_marked(start, scores_s, least_s, cut_s)
        else:
            self._take_rows(start, rows, scores_s, (scores_s <= cut_s).nonzero()[0])
        self._cut()

    def _marked(self, start: int) -> bool:
        """Whether what nodes from this position on have read of the prompt counts."""
        return bool(self._want.prompt.marks) and start < _SKETCHES_LIMIT_COUNT

    def _take_block_marked(self, start: int, scores_s: Floats, least_s: Floats, cut_s: float) -> None:
        """Those that would be the best with all of the prompt kept come first: what they cost bounds the others."""
        positions = (least_s <= cut_s).nonzero()[0]
        for position in positions[least_s[positions].argsort()].tolist():
            if least_s.item(position) > self._cut_s:
                return
            self._take_marked(start + position, scores_s.item(position), cut_s)
            self._cut()

    def _note_nearest(self, start: int, scores_s: Floats) -> None:
        for position in range(len(scores_s)):
            if scores_s.item(position) < math.inf:
                self.nearest_s = self._order.network_s.item(start + position)
                return

    def _cut_of(self, scores_s: Floats) -> float:
        """What a node of this block may cost at most to be wanted."""
        count = self._want.limit_count
        if len(scores_s) <= count:
            return min(self._cut_s, _FINITE_S)
        few = scores_s.copy()
        few.partition((0, count - 1))
        least_s, worst_s = float(few[0]), float(few[count - 1])
        return min(max(worst_s, least_s + self._want.band_s(least_s)), self._cut_s, _FINITE_S)

    def _take_rows(self, start: int, rows: Rows, scores_s: Floats, positions: Rows) -> None:
        """The same as `_take_row` for many: most of a decision's rows come this way."""
        seats, near_at, ready = self._pool.rows, self._order.near_at, self.ready
        found_s = scores_s[positions].tolist()
        for position, row, score_s in zip(positions.tolist(), rows[positions].tolist(), found_s, strict=True):
            seat = seats[row]
            assert seat.usual is not None, "a row with a score has a release that answers"
            ready.append(Scored(score_s, seat.node_id, near_at(start + position), seat, seat.usual))
        self._scores_s += found_s

    def _take_row(self, position: int, score_s: float) -> None:
        seat = self._pool.rows[self._order.rows.item(position)]
        assert seat.usual is not None, "a row with a score has a release that answers"
        self.ready.append(Scored(score_s, seat.node_id, self._order.near_at(position), seat, seat.usual))
        self._scores_s.append(score_s)

    def _take_marked(self, position: int, score_s: float, cut_s: float) -> None:
        """The same where a node may keep a part of the prompt; `score_s` is what it costs if it does not."""
        seat = self._pool.rows[self._order.rows.item(position)]
        assert seat.usual is not None, "a row with a score has a release that answers"
        if seat.usual.model.prefixes and self._want.prompt.begins_in(seat.usual):
            self._take(self._scored(self._order.near_at(position), seat, seat.usual))
        elif score_s <= cut_s:
            self._take_row(position, score_s)

    def _take(self, scored: Scored) -> None:
        self.ready.append(scored)
        self._scores_s.append(scored.score_s)
        self.nearest_s = min(self.nearest_s, scored.near.network_s)

    def _cut(self) -> None:
        """Look at what is found: how much may a node cost that is still wanted?"""
        count = self._want.limit_count
        if len(self._scores_s) >= count:
            self._scores_s.sort()
            del self._scores_s[count:]
            best_s = self._scores_s[0]
            self._cut_s = max(self._scores_s[-1], best_s + self._want.band_s(best_s))

    def _scored(self, near: Near, seat: Seat, offer: Offer) -> Scored:
        scored = Scored(0.0, seat.node_id, near, seat, offer)
        return scored._replace(score_s=sum(self.terms_s(scored).values()))


def best_offer(seat: Seat, want: Want) -> Offer | None:
    """The release that this node would answer from: a ready one, of the version that its channel points at."""
    wanted = want.version or want.channels.get(seat.member.report.channel)
    return max(
        (
            offer
            for offer in seat.offers
            if (offer.answers or offer.loading) and want.version in {None, offer.version}
        ),
        key=lambda offer: (offer.answers, offer.version == wanted, offer.model.state, offer.version),
        default=None,
    )


def _timeouts_s(rtts_ms: Floats) -> Floats:
    shortest_s, longest_s = CONNECT_TIMEOUT_S
    clipped: Floats = np.clip(0.003 * rtts_ms, shortest_s, longest_s)
    return clipped
