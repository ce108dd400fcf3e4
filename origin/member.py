"""Member: all that the fleet keeps of one node between its heartbeats: its offers, what was sent there, its failures.

These objects live as long as the node is remembered and are changed in place, so that routing can point at them.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING

from origin.doubts import Doubts
from origin.standing import ReleaseKey, Standing, watched

if TYPE_CHECKING:
    from origin.api import ModelReport, NodeReport, NodeState
    from origin.standing import Watch

_SENT_KEPT_COUNT = 1024
_ANSWERS = frozenset({"ready", "asleep"})
NEVER_S = float("-inf")


class Offer:
    """One release on one node.

    Attributes:
        answers: whether it answers a request that comes now. A sleeping release does: its node loads it.
        sent: when requests were sent here that no report speaks of yet, and when each will have arrived.
        prefixes: the sketch of what it has read, unpacked when it is first asked for.
        standing_s, token_s, doubt: what routing has worked out of the rest (`origin.geo.score`); good until
            `good_until_s`.
    """

    __slots__ = (
        "answers", "doubt", "good_until_s", "loading", "member", "model", "prefixes", "sent", "standing_s", "token_s",
        "version", "watch",
    )  # fmt: skip

    def __init__(self, member: Member, model: ModelReport, watch: Watch) -> None:
        self.member = member
        self.version = model.version
        self.sent: deque[tuple[float, float]] = deque(maxlen=_SENT_KEPT_COUNT)
        self.take(model, watch)

    def take(self, model: ModelReport, watch: Watch) -> None:
        """Let a newer report speak."""
        self.model = model
        self.watch = watch
        self.answers = model.state in _ANSWERS
        self.loading = model.state == "loading"
        self.prefixes: frozenset[int] | None = None
        self.standing_s = 0.0
        self.token_s = 0.0
        self.doubt = 0.0
        self.good_until_s = NEVER_S


class Seat:
    """One node among those that speak of a model, with its releases of it.

    Attributes:
        number: the node's id as 64 bits that look random.
    """

    __slots__ = ("member", "name", "node_id", "number", "offers")

    def __init__(self, member: Member, name: str) -> None:
        self.member = member
        self.name = name
        self.node_id = member.report.node_id
        self.number = int.from_bytes(hashlib.sha256(self.node_id.encode()).digest()[:8], "little")
        self.offers: tuple[Offer, ...] = ()


class Member:
    """One node.

    Attributes:
        open: whether it may be sent requests: it is up or suspect.
        quiet: it is past the first deadline, and counts among those that may have vanished.
        seats: by model name.
    """

    __slots__ = (
        "awaited",
        "doubts",
        "heard_count",
        "held",
        "open",
        "quiet",
        "report",
        "seats",
        "seen_s",
        "state",
    )  # fmt: skip

    def __init__(self, report: NodeReport, seen_s: float) -> None:
        self.report = report
        self.seen_s = seen_s
        self.held = False
        self.quiet = False
        self.awaited = False
        self.seats: dict[str, Seat] = {}
        self.doubts = Doubts(seen_s)
        self.heard_count = 0
        self.become("draining" if report.draining else "up")

    def become(self, state: NodeState) -> None:
        """Be in this state; what was worked out of the one before is forgotten."""
        self.state: NodeState = state
        self.open = state in {"up", "suspect"}
        for seat in self.seats.values():
            for offer in seat.offers:
                offer.good_until_s = NEVER_S

    def take(self, report: NodeReport, now_s: float) -> None:
        """Let a newer report speak; the seats are the pools' to give."""
        self.report = report
        self.seen_s = now_s
        by_name: dict[str, list[Offer]] = {}
        for model in report.models:
            seat = self.seats.get(model.name)
            before = next((o for o in seat.offers if o.version == model.version), None) if seat else None
            watch = watched(before.watch if before else None, model, now_s)
            if before is None:
                before = Offer(self, model, watch)
            else:
                before.take(model, watch)
                while before.sent and before.sent[0][1] <= now_s:
                    before.sent.popleft()
            by_name.setdefault(model.name, []).append(before)
        for name, seat in self.seats.items():
            seat.offers = tuple(by_name.pop(name, ()))
        for name, offers in by_name.items():
            self.seats[name] = seat = Seat(self, name)
            seat.offers = tuple(offers)

    def offer(self, release: ReleaseKey) -> Offer | None:
        """What it offers of a release; None where it does not speak of it."""
        seat = self.seats.get(release[0])
        return next((o for o in seat.offers if o.version == release[1]), None) if seat else None

    def standing(self, now_s: float) -> Standing:
        """The node as others may look at it."""
        offers = [(seat.name, offer) for seat in self.seats.values() for offer in seat.offers]
        return Standing(
            self.report,
            self.state,
            now_s - self.seen_s,
            self.held,
            {
                (name, offer.version): tuple(now_s - sent_s for sent_s, _ in offer.sent)
                for name, offer in offers
                if offer.sent
            },
            {(name, offer.version): offer.watch for name, offer in offers},
        )
