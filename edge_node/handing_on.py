"""Admit a request or hand it on: a node with a worse wait than its ticket promised elsewhere sends it to the next one.

A ticket names the nodes that an origin ranked for a request, with the times to first token that it predicted for them
(`origin.tickets`). The node that the request reaches knows better than any heartbeat how long it would wait here. When
that is worse than what was predicted of the next node, plus a round trip and 50 ms, the request goes there; so stale
heartbeats and routers that do not know of each other do little harm. A request is handed on twice at most, and never
to a node that has seen it: loops are impossible, whatever the nodes think of each other.

Nothing here reads a clock or a ticket's signature; a request without a ticket never comes here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from origin.tickets import Stop

MARGIN_S = 0.050
"""What the next node must be better by, beside a round trip: a redirect costs a connection and both ends some work."""
HOPS_LIMIT_COUNT = 2

Reason = Literal["busy", "full", "loading", "absent", "draining"]
"""Why a request is handed on: it would wait longer here than there; or this node would refuse it, because its queue
is full, the model is still loading, is not here, or the node is stopping."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a request's ticket allows this node.

    Attributes:
        stops: the ranked nodes, best first.
        here: which of them this node is.
        tried: which of them have handed this request on or failed it.
        passed_by: which are busier than the ticket says, as its client knows.
    """

    stops: tuple[Stop, ...]
    here: int
    tried: frozenset[int] = frozenset()
    passed_by: frozenset[int] = frozenset()

    def next_stop(self, *, in_need: bool = False) -> int | None:
        """The best node that has not seen this request; None when it has been handed on often enough.

        Those that were passed by come last, and only `in_need`: what the ticket says of their load is no reason to go.
        """
        if len(self.tried) >= HOPS_LIMIT_COUNT:
            return None
        left = set(range(len(self.stops))) - self.tried - {self.here}
        return min(left - self.passed_by, default=min(left, default=None) if in_need else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a request would fare here, as of now.

    Attributes:
        wait_s: until a slot is free for it.
        load_s: until the model is loaded; 0 when it is.
        refusal: why it would not be let in at all; None when it would.
    """

    wait_s: float = 0.0
    load_s: float = 0.0
    refusal: Reason | None = None


@dataclass(frozen=True, slots=True)
class HandOn:
    """Where a request goes instead.

    Attributes:
        to: which stop of the offer.
        here_s: the time to first token expected here; infinite where it would be refused.
        there_s: what was predicted of the other, with what the way there costs.
    """

    to: int
    reason: Reason
    here_s: float
    there_s: float


def hand_on(offer: Offer, standing: Standing) -> HandOn | None:
    """Where a request should go instead; None when it should stay, or be refused, here.

    Reading the prompt takes here what the origin predicted: it knows which prefixes are kept here, and this is asked
    before the prompt is looked at. What it could not know are the queue and the load, so these alone move a request.
    """
    to = offer.next_stop(in_need=standing.refusal is not None or standing.load_s > 0)
    if to is None:
        return None
    there_s = offer.stops[to].score_s + offer.stops[to].rtt_ms / 1000 + MARGIN_S
    if standing.refusal is not None:
        return HandOn(to, standing.refusal, float("inf"), there_s)
    unforeseen_s = standing.wait_s + standing.load_s
    here_s = unforeseen_s + offer.stops[offer.here].prefill_s
    if unforeseen_s <= 0 or here_s <= there_s:
        return None
    return HandOn(to, "loading" if standing.load_s > standing.wait_s else "busy", here_s, there_s)
