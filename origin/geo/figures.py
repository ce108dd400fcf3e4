"""Figures: keeps the rows of a pool in step with what its nodes say and with the clock, touching only what changed."""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

from origin.geo.score import age_limit_s, own_part

if TYPE_CHECKING:
    from origin.member import Seat
    from origin.pool import Measured, Pool
    from origin.standing import FleetRules


_MOVE_S = 0.02
"""Scores that grow with the clock may be so far behind: else every request would pay for every silent node."""


def bring_up_to_date(pool: Pool, rules: FleetRules, now_s: float) -> Measured:
    """Work out anew whatever is out of date; gives what stands in for figures that nobody has measured."""
    pool.settle()
    others = pool.measured(now_s, rules.heartbeat_s)
    due = pool.due
    while due and due[0][0] <= now_s:
        due_s, _, seat = heapq.heappop(due)
        if pool.due_of.get(seat) == due_s:
            del pool.due_of[seat]
        pool.touched.add(seat)
    if not 0 <= now_s - pool.moved_s < _MOVE_S:
        pool.touched.update(pool.moving)
        pool.moved_s = now_s
    while pool.touched:
        _work_out(pool, pool.touched.pop(), others, rules, now_s)
    return others


def _work_out(pool: Pool, seat: Seat, others: Measured, rules: FleetRules, now_s: float) -> None:
    row, offer, member = pool.row_of[seat.node_id], seat.usual, seat.member
    pool.moving.discard(seat)
    pool.unmeasured.discard(seat)
    pool.doubtful.discard(seat)
    if seat.answering_count > 1 and member.open:
        pool.several.add(seat)
    else:
        pool.several.discard(seat)
    if offer is None or not member.open:
        pool.standing_s[row] = math.inf
        return
    own = pool.own[row] = own_part(offer, others, rules, now_s)
    pool.standing_s[row] = own.queue_s + own.load_s + own.age_s
    pool.token_s[row] = own.token_s
    pool.read_until_s[row] = own.read_until_s
    pool.doubt[row] = own.doubt
    if own.doubt:
        pool.doubtful.add(seat)
    if member.state == "suspect" and own.age_s < age_limit_s(rules):
        pool.moving.add(seat)
    model = offer.model
    if model.service_s is None or not model.prefill_tokens_per_s or model.load_s is None:
        pool.unmeasured.add(seat)
    if offer.sent:
        service_s = others.service_s if model.service_s is None else model.service_s
        due_s = offer.sent[0][1] + service_s
        if pool.due_of.get(seat) != due_s:
            pool.due_of[seat] = due_s
            # The number only keeps seats from being compared.
            heapq.heappush(pool.due, (due_s, seat.number, seat))
