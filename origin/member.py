"""Member: all that the fleet keeps of one node between its heartbeats: its offers, what was sent there, its failures.

These objects live as long as the node is remembered and are changed in place, so that routing can point at them.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING

from origin.doubts import Doubts
from origin.standing import ReleaseKey, Standing, watched
from registry.reference import bare_name

if TYPE_CHECKING:
    from origin.api import ModelReport, NodeReport, NodeState
    from origin.company import Company
    from origin.standing import Watch

_SENT_KEPT_COUNT = 1024
_ANSWERS = frozenset({"ready", "asleep"})


class Offer:
    """One release on one node.

    Attributes:
        answers: whether it answers a request that comes now. A sleeping release does: its node loads it.
        sent: when requests were sent here that no report speaks of yet, and when each will have arrived.
        sent_count: how many were sent since its last report.
        read_until_s: when all that are there or on their way will have been read, one after the other.
        prefixes: the sketch of what it has read, unpacked when it is first asked for.
    """

    __slots__ = (
        "answers", "loading", "member", "model", "prefixes", "read_until_s", "sent", "sent_count", "version", "watch",
    )  # fmt: skip

    def __init__(self, member: Member, model: ModelReport) -> None:
        self.member = member
        self.version = model.version
        self.sent: deque[tuple[float, float]] = deque(maxlen=_SENT_KEPT_COUNT)
        self.sent_count = 0
        self.read_until_s = 0.0
        self.prefixes: frozenset[int] | None = None
        self.model = model

    def send(self, now_s: float, travel_s: float) -> None:
        """A request goes there."""
        arrives_s = now_s + travel_s
        self.sent.append((now_s, arrives_s))
        self.sent_count += 1
        self.read_until_s = max(self.read_until_s, arrives_s) + (self.model.read_s or 0.0)

    def take(self, model: ModelReport, watch: Watch, now_s: float) -> None:
        """Let a newer report speak, which knows of what had arrived by then."""
        self.sent_count = 0
        while self.sent and self.sent[0][1] <= now_s:
            self.sent.popleft()
        self.read_until_s = now_s + model.unread_s
        for _, arrives_s in self.sent:
            self.read_until_s = max(self.read_until_s, arrives_s) + (model.read_s or 0.0)
        if model.prefixes != self.model.prefixes:
            self.prefixes = None
        self.model = model
        self.watch = watch
        self.answers = model.state in _ANSWERS
        self.loading = model.state == "loading"

    def note_arrivals(self, later: ModelReport, now_s: float) -> None:
        """Learn from the next report of the same start who else sends requests here."""
        arrived_count = later.arrived_count - self.model.arrived_count
        if arrived_count >= 0:
            self.member.company.note(arrived_count, self.sent_count, now_s)


def space_name(name: str, space: str) -> str:
    """What a model is called among seats and pools that have its releases of one space of vectors alone."""
    return f"{name}#{space}"


class Seat:
    """One node among those that speak of a model, with its releases of it.

    A node whose release of a model is in a space of vectors has a second seat, for that space, with the same offers.

    Attributes:
        is_whole: it has all of the model's releases, whatever their space.
        model_name: the model's; `name` may say a space as well.
        number: the node's id as 64 bits that look random.
        usual: the one release that answers; None where none does, or several do.
        touched_in: for each pool that it is in, the set of seats there whose figures have changed.
    """

    __slots__ = (
        "answering_count", "is_whole", "member", "model_name", "name", "node_id", "number", "offers", "touched_in",
        "usual",
    )  # fmt: skip

    def __init__(self, member: Member, name: str) -> None:
        self.member = member
        self.name = name
        self.model_name = bare_name(name)
        self.is_whole = "#" not in name
        self.node_id = member.report.node_id
        self.number = int.from_bytes(hashlib.sha256(self.node_id.encode()).digest()[:8], "little")
        self.touched_in: list[set[Seat]] = []
        self.hold(())

    def hold(self, offers: tuple[Offer, ...]) -> None:
        """Have these releases now."""
        self.offers = offers
        answering = [offer for offer in offers if offer.answers]
        self.answering_count = len(answering)
        self.usual = answering[0] if len(answering) == 1 else None
        self.touch()

    def touch(self) -> None:
        """Say that what was worked out of this seat's figures is out of date."""
        for touched in self.touched_in:
            touched.add(self)


class Member:
    """One node.

    Attributes:
        awaits_s: when its next deadline is looked at; infinite when none is awaited.
        heard_by: the id of the origin that told us of it last; "" when it reports here.
        open: whether it may be sent requests: it is up or suspect.
        quiet: it is past the first deadline, and counts among those that may have vanished.
        seats: by model name.
    """

    __slots__ = (
        "awaits_s",
        "company",
        "doubts",
        "heard_by",
        "held",
        "open",
        "quiet",
        "report",
        "seats",
        "seen_s",
        "state",
    )  # fmt: skip

    def __init__(self, report: NodeReport, seen_s: float, company: Company) -> None:
        self.company = company
        self.report = report
        self.seen_s = seen_s
        self.held = False
        self.quiet = False
        self.awaits_s = float("inf")
        self.heard_by = ""
        self.seats: dict[str, Seat] = {}
        self.doubts = Doubts(seen_s)
        self.become("draining" if report.draining else "up")

    def become(self, state: NodeState) -> None:
        """Be in this state; what was worked out of the one before is forgotten."""
        self.state: NodeState = state
        self.open = state in {"up", "suspect"}
        self.touch()

    def touch(self) -> None:
        """Say that what was worked out of this node's figures is out of date."""
        for seat in self.seats.values():
            seat.touch()

    def touch_model(self, name: str) -> None:
        """The same of one model, in each space."""
        for seat in self.seats.values():
            if seat.model_name == name:
                seat.touch()

    def take(self, report: NodeReport, now_s: float) -> None:
        """Let a newer report speak; the seats are the pools' to give."""
        same_start = report.incarnation == self.report.incarnation
        self.report = report
        self.seen_s = now_s
        by_name: dict[str, list[Offer]] = {}
        for model in report.models:
            seat = self.seats.get(model.name)
            before = next((o for o in seat.offers if o.version == model.version), None) if seat else None
            watch = watched(before.watch if before else None, model, now_s)
            if before is None:
                before = Offer(self, model)
            elif same_start:
                before.note_arrivals(model, now_s)
            before.take(model, watch, now_s)
            by_name.setdefault(model.name, []).append(before)
            if model.space_id:
                by_name.setdefault(space_name(model.name, model.space_id), []).append(before)
        for name, seat in self.seats.items():
            seat.hold(tuple(by_name.pop(name, ())))
        for name, offers in by_name.items():
            self.seats[name] = seat = Seat(self, name)
            seat.hold(tuple(offers))

    def offer(self, release: ReleaseKey) -> Offer | None:
        """What it offers of a release; None where it does not speak of it."""
        seat = self.seats.get(release[0])
        return next((o for o in seat.offers if o.version == release[1]), None) if seat else None

    def standing(self, now_s: float) -> Standing:
        """The node as others may look at it."""
        offers = [
            (seat.name, offer) for seat in self.seats.values() if seat.is_whole for offer in seat.offers
        ]
        return Standing(
            self.report,
            self.state,
            now_s - self.seen_s,
            self.held,
            self.heard_by,
            {
                (name, offer.version): tuple(now_s - sent_s for sent_s, _ in offer.sent)
                for name, offer in offers
                if offer.sent
            },
            {(name, offer.version): offer.watch for name, offer in offers},
        )
