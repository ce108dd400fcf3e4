"""The expected seconds until the first token, as a sum of terms that each mean something alone.

    network   round trips to the node, of the estimated RTT each
    queue     requests ahead of this one, of the measured service time each, over the slots; and reading the prompts of
              those that have a slot, as far as it goes on when this one arrives
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
from typing import TYPE_CHECKING, NamedTuple

from origin.api import RankedNode
from origin.pool import token_s
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


@dataclass(slots=True)
class Prompt:
    """What there is to read; `marks` name its beginnings, where somebody has worked them out of its `size_bytes`.

    `shared_marks` are those of the same beginnings under which nodes keep them for everybody.
    """

    tokens_count: int = 0
    marks: tuple[Mark, ...] = ()
    size_bytes: int = 0
    shared_marks: tuple[Mark, ...] = ()

    def begins_in(self, offer: Offer) -> bool:
        """Whether a node keeps any beginning of it."""
        if not self.marks or not offer.model.prefixes:
            return False
        if offer.prefixes is None:
            offer.prefixes = unpack_sketch(offer.model.prefixes)
        return self.marks[0].number in offer.prefixes or (
            bool(self.shared_marks) and self.shared_marks[0].number in offer.prefixes
        )

    def unread_tokens(self, offer: Offer) -> float:
        """What a node that keeps some beginnings has still to read of it."""
        if not self.begins_in(offer):
            return self.tokens_count
        assert offer.prefixes is not None, "it was just looked into"
        size_bytes = max(self.size_bytes, self.marks[-1].end_bytes)
        kept = max(kept_bytes(self.marks, offer.prefixes), kept_bytes(self.shared_marks, offer.prefixes))
        return self.tokens_count * (1 - kept / size_bytes)


class Own(NamedTuple):
    """What a node's figures make of the score, whoever asks and whatever there is to read."""

    queue_s: float
    load_s: float
    age_s: float
    token_s: float
    doubt: float
    read_until_s: float


def own_part(offer: Offer, others: Measured, rules: FleetRules, now_s: float) -> Own:
    """A release's part of the score."""
    rate = offer.model.prefill_tokens_per_s or others.prefill_tokens_per_s
    return Own(
        queue_s(offer, others, rules.heartbeat_s, now_s),
        0.0 if offer.model.state == "ready" else load_s(offer, others, now_s),
        0.0 if offer.member.state == "up" else age_s(offer.member, rules, now_s),
        token_s(rate) if rate else 0.0,
        offer.member.doubts.failure_share(),
        offer.read_until_s,
    )


def queue_s(offer: Offer, others: Measured, heartbeat_s: float, now_s: float) -> float:
    """The wait expected for a slot, with the requests sent there since the last heartbeat counted in.

    A request that arrived longer ago than it takes to serve one is over by now. Each one sent from here stands for
    those that other routers, which have heard the same of this node, have sent meanwhile (`origin.company`).

    How many are ahead is not known exactly: half a heartbeat ago, on average, it was as reported, and requests have
    come and gone since, each as many as end in that time. Both are taken for Poisson, their difference for normal.
    So a node that was nearly full costs a part of a wait: it is often full by now, and no wait is below zero.
    """
    model = offer.model
    service_s = others.service_s if model.service_s is None else model.service_s
    while offer.sent and offer.sent[0][1] + service_s <= now_s:
        offer.sent.popleft()
    slots = max(1, model.slots)
    sent_count = len(offer.sent) * offer.member.company.ratio
    excess = model.busy + model.queued + sent_count + 1 - slots
    variance = model.busy * min(1.0, heartbeat_s / service_s) if service_s > 0 else 0.0
    return _mean_above_0(excess, math.sqrt(variance)) * service_s / slots


def _mean_above_0(mean: float, deviation: float) -> float:
    """The mean of what a normal variable is above 0, as much as 0 where it is not."""
    if deviation <= 0 or abs(mean) > 6 * deviation:
        return max(0.0, mean)
    z = mean / deviation
    density = math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return max(0.0, mean * math.erfc(-z / math.sqrt(2)) / 2 + deviation * density)


def load_s(offer: Offer, others: Measured, now_s: float) -> float:
    """The rest of a load under way, which is about to end if it is late; 0 when ready; when asleep, what it upsets.

    What wakes up waits until there is room, and displaces another release, which is to come back in the same way: two
    exchanges. And each request that comes for that one meanwhile waits as long, so it costs what it costs them.
    Without counting that, nodes under pressure do nothing but load: a choice that is best for each request can be bad
    for all (T. Roughgarden and E. Tardos, "How bad is selfish routing?", Journal of the ACM 49(2), 2002; the remedy is
    A. C. Pigou's, 1920).
    """
    model = offer.model
    if model.state == "ready":
        return 0.0
    whole_s = others.load_s if model.load_s is None else model.load_s
    if model.state == "asleep":
        service_s = others.service_s if model.service_s is None else model.service_s
        return model.room_s + (2 + model.displaced_count) * (whole_s + service_s)
    return max(_LEAST_LOAD_S, whole_s - (now_s - offer.watch.since_s))


def age_s(member: Member, rules: FleetRules, now_s: float) -> float:
    """A penalty for silence: nothing while a node is up, then the heartbeats that are missing, at most 2."""
    if member.state != "suspect":
        return 0.0
    return max(0.0, min(now_s - member.seen_s - rules.heartbeat_s, age_limit_s(rules)))


def age_limit_s(rules: FleetRules) -> float:
    """The most that silence costs; who has been silent for longer costs the same from then on."""
    return 2 * rules.heartbeat_s


def failure_s(doubt: float, base_s: float, rtt_ms: float) -> float:
    """What the chance of a failure costs: the time-out, and as long again as this would have taken."""
    shortest_s, longest_s = CONNECT_TIMEOUT_S
    return doubt * (min(max(3 * rtt_ms / 1000, shortest_s), longest_s) + base_s)


def terms_s(
    network_s: float, rtt_ms: float, unread_tokens: float, own: Own, now_s: float
) -> dict[str, float]:
    """All terms by their names; the score is their sum.

    An engine reads prompts before it goes on with answers, one after the other, at the same rate however many there are
    (in batches or in turn): so the reading of those before comes in whole on top, but for what passes on the way there.
    """
    terms = {
        "network": network_s,
        "queue": own.queue_s + max(0.0, own.read_until_s - now_s - network_s),
        "prefill": unread_tokens * own.token_s,
        "load": own.load_s,
        "age": own.age_s,
        "failure": 0.0,
    }
    if own.doubt:
        terms["failure"] = failure_s(own.doubt, sum(terms.values()), rtt_ms)
    return terms


def ranked(near: Near, offer: Offer, terms: dict[str, float]) -> RankedNode:
    """A node with its score explained term by term."""
    report = offer.member.report
    return RankedNode(
        node_id=report.node_id,
        url=report.url,
        label=report.label,
        place=report.place,
        distance_km=near.apart_km,
        rtt_ms=near.rtt_ms,
        rtt_source=near.source,
        score_s=sum(terms.values()),
        terms_s=terms,
        version=offer.version,
        each_s=offer.model.service_s / offer.model.slots
        if offer.model.service_s and offer.model.slots
        else 0.0,
    )
