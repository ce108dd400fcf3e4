"""The expected seconds until the first token, as a sum of terms that each mean something alone.

    network   round trips to the node, of the estimated RTT each
    queue     requests ahead of this one, of the measured service time each, over the slots
    prefill   reading what the node has not read before of the prompt, at its measured rate
    load      making the release ready, while it is still loading or sleeps
    age       how stale our knowledge of a suspect node is
    failure   the chance that it fails, times finding that out and beginning again elsewhere

Each term is in seconds, so none needs a weight; lower is better. What a node has not measured is taken from the
other nodes with the same model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from origin.api import RankedNode
from origin.member import NEVER_S
from origin.prefixes import kept_bytes, unpack_sketch

if TYPE_CHECKING:
    from origin.geo.nearness import Near
    from origin.member import Member, Offer
    from origin.pool import Measured
    from origin.prefixes import Mark
    from origin.standing import FleetRules

CONNECT_TIMEOUT_S = (0.15, 1.0)
"""A client finds out after 3 round trips that a node does not answer, within these bounds."""
_LEAST_LOAD_S = 0.1


@dataclass(frozen=True, slots=True)
class Prompt:
    """What there is to read; `marks` name its beginnings, where somebody has worked them out of its `size_bytes`."""

    tokens_count: int = 0
    marks: tuple[Mark, ...] = ()
    size_bytes: int = 0

    def unread_tokens(self, offer: Offer) -> float:
        """What a node that keeps some beginnings has still to read of it."""
        if not self.marks or not offer.model.prefixes:
            return self.tokens_count
        if offer.prefixes is None:
            offer.prefixes = unpack_sketch(offer.model.prefixes)
        size_bytes = max(self.size_bytes, self.marks[-1].end_bytes)
        return self.tokens_count * (1 - kept_bytes(self.marks, offer.prefixes) / size_bytes)


def renew(offer: Offer, others: Measured, rules: FleetRules, now_s: float) -> None:
    """Work out of a node's figures all that does not depend on who asks, and until when that is good."""
    model = offer.model
    rate = model.prefill_tokens_per_s or others.prefill_tokens_per_s
    offer.token_s = 1 / rate if rate else 0.0
    offer.doubt = offer.member.doubts.failure_share()
    offer.standing_s = sum(standing_terms_s(offer, others, rules, now_s))
    moving = offer.loading or offer.member.state == "suspect"
    if moving or model.service_s is None or not model.prefill_tokens_per_s or model.load_s is None:
        offer.good_until_s = NEVER_S  # it changes with the clock, or with what others measure
    else:
        offer.good_until_s = offer.sent[0][1] + model.service_s if offer.sent else math.inf


def standing_terms_s(
    offer: Offer, others: Measured, rules: FleetRules, now_s: float
) -> tuple[float, float, float]:
    """The terms `queue`, `load` and `age`."""
    return queue_s(offer, others, now_s), load_s(offer, others, now_s), age_s(offer.member, rules, now_s)


def queue_s(offer: Offer, others: Measured, now_s: float) -> float:
    """The wait for a slot, with the requests sent there since the last heartbeat counted in.

    A request that arrived longer ago than it takes to serve one is over by now.
    """
    model = offer.model
    service_s = others.service_s if model.service_s is None else model.service_s
    while offer.sent and offer.sent[0][1] + service_s <= now_s:
        offer.sent.popleft()
    slots = max(1, model.slots)
    ahead_count = max(0, model.busy + model.queued + len(offer.sent) + 1 - slots)
    return ahead_count * service_s / slots


def load_s(offer: Offer, others: Measured, now_s: float) -> float:
    """A whole load when asleep, the rest of one under way, which is about to end if it is late; 0 when ready."""
    model = offer.model
    if model.state == "ready":
        return 0.0
    whole_s = others.load_s if model.load_s is None else model.load_s
    if model.state == "asleep":
        return whole_s
    return max(_LEAST_LOAD_S, whole_s - (now_s - offer.watch.since_s))


def age_s(member: Member, rules: FleetRules, now_s: float) -> float:
    """A penalty for silence: nothing while a node is up, then the heartbeats that are missing, at most 2."""
    if member.state != "suspect":
        return 0.0
    return max(0.0, min(now_s - member.seen_s - rules.heartbeat_s, 2 * rules.heartbeat_s))


def failure_s(doubt: float, base_s: float, rtt_ms: float) -> float:
    """What the chance of a failure costs: the time-out, and as long again as this would have taken."""
    if not doubt:
        return 0.0
    shortest_s, longest_s = CONNECT_TIMEOUT_S
    return doubt * (min(max(3 * rtt_ms / 1000, shortest_s), longest_s) + base_s)


def score_s(near: Near, offer: Offer, prompt: Prompt, *, warm: bool) -> float:
    """The whole score, from what `renew` has worked out."""
    network_s = near.rtt_ms / 1000 if warm else near.network_s
    base_s = network_s + offer.standing_s + prompt.unread_tokens(offer) * offer.token_s
    return base_s + failure_s(offer.doubt, base_s, near.rtt_ms)


def ranked(
    near: Near,
    offer: Offer,
    prompt: Prompt,
    others: Measured,
    rules: FleetRules,
    now_s: float,
    *,
    warm: bool,
) -> RankedNode:
    """A node with its score explained term by term."""
    queue, load, age = standing_terms_s(offer, others, rules, now_s)
    terms_s = {
        "network": near.rtt_ms / 1000 if warm else near.network_s,
        "queue": queue,
        "prefill": prompt.unread_tokens(offer) * offer.token_s,
        "load": load,
        "age": age,
    }
    terms_s["failure"] = failure_s(offer.doubt, sum(terms_s.values()), near.rtt_ms)
    report = offer.member.report
    return RankedNode(
        node_id=report.node_id,
        url=report.url,
        label=report.label,
        place=report.place,
        distance_km=near.apart_km,
        rtt_ms=near.rtt_ms,
        rtt_source=near.source,
        score_s=sum(terms_s.values()),
        terms_s=terms_s,
        version=offer.version,
    )
