"""The tickets of requests: read with the route keys that the origin told, weighed, and counted.

A ticket is looked at only when the node cannot answer at once, since checking a signature takes longer than admission.
One that cannot be believed is counted and the request is treated as if it had none: never an error for its client.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edge_node.errors import (
    DrainingError,
    HandedOnError,
    ModelNotHereError,
    ModelNotReadyError,
    OverloadedError,
)
from edge_node.handing_on import Offer, Standing, hand_on
from origin.tickets import Ticket, read_ticket, split_way, verifiers, with_way
from registry.reference import bare_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge_node.handing_on import HandOn, Reason
    from origin.tickets import Flaw
    from registry.errors import EdgewardError

_READ_LIMIT_COUNT = 512
KEYS_WAIT_S = 3.0
"""A few heartbeats: whoever has not heard an origin by then hears none."""

_REFUSALS: dict[type[EdgewardError], Reason] = {
    OverloadedError: "full",
    ModelNotReadyError: "loading",
    ModelNotHereError: "absent",
    DrainingError: "draining",
}


class Counting(Protocol):
    """What the desk needs of `edge_node.telemetry.Metrics`."""

    def ticket_read(self, *, state: str) -> None:
        """Count a ticket by what came of reading it."""

    def handed_on(self, *, reason: str) -> None:
        """Count a request that was handed on."""


class TicketDesk:
    """Reads tickets for one node.

    Args:
        node_id: this node's.
        metrics: where tickets and requests that were handed on are counted.
        now_unix_s: the wall clock. One that is more than a minute fast finds every ticket expired.

    Attributes:
        handed_on: how many requests were handed on since the start, by reason.
    """

    def __init__(self, node_id: str, metrics: Counting, now_unix_s: Callable[[], float]) -> None:
        self.handed_on: Counter[str] = Counter()
        self._node_id = node_id
        self._metrics = metrics
        self._now_unix_s = now_unix_s
        self._known: frozenset[bytes] = frozenset()
        self._keys = verifiers(())
        self._read: dict[str, Ticket] = {}
        self._learned = asyncio.Event()

    def learn(self, public_keys: Iterable[bytes]) -> None:
        """Believe tickets of these route keys, and of no others; with none told, the last ones stay good."""
        known = frozenset(public_keys)
        if known and known != self._known:
            self._known = known
            self._keys = verifiers(known)
            self._read.clear()
            self._learned.set()
            self._learned = asyncio.Event()

    async def learns(self, wait_s: float) -> bool:
        """Wait for other keys to be told; False when none were in time."""
        try:
            async with asyncio.timeout(wait_s):
                await self._learned.wait()
        except TimeoutError:
            return False
        return True

    def offer(self, text: str, model: str) -> Offer | None:
        """What a ticket allows this node for this model (empty: not known yet); None where it allows nothing."""
        signed, way = split_way(text)
        found = self._find(signed)
        if isinstance(found, str):
            self._metrics.ticket_read(state=found)
            return None
        ids = [stop.node_id for stop in found.stops]
        state = (
            "not_named"
            if self._node_id not in ids
            else "other_model"
            if _differ(found.model, model)
            else "good"
        )
        self._metrics.ticket_read(state=state)
        if state != "good":
            return None
        known = frozenset(range(len(ids)))
        return Offer(found.stops, ids.index(self._node_id), way.tried & known, way.passed_by & known)

    def believed(self, text: str) -> Ticket | None:
        """A ticket that can be believed and names this node; None where it is not."""
        found = self._find(split_way(text)[0])
        if isinstance(found, str) or self._node_id not in {stop.node_id for stop in found.stops}:
            return None
        return found

    def lacks_key(self, text: str) -> bool:
        """Whether a ticket was signed with a key that this node has not heard of."""
        return self._find(split_way(text)[0]) == "unknown_key"

    def _find(self, signed: str) -> Ticket | Flaw:
        now_unix_s = self._now_unix_s()
        known = self._read.get(signed)
        if known is not None and now_unix_s < known.expires_unix_s:
            return known
        found = read_ticket(signed, self._keys, now_unix_s)
        if not isinstance(found, str):
            if len(self._read) >= _READ_LIMIT_COUNT:
                self._read.clear()
            self._read[signed] = found
        return found

    def count(self, decided: HandOn) -> None:
        """Count a request that is handed on."""
        self.handed_on[decided.reason] += 1
        self._metrics.handed_on(reason=decided.reason)


@dataclass(slots=True)
class Carried:
    """The ticket of one request, not read yet.

    Attributes:
        settled: it was decided that the request stays; its further parts are not asked about again.
    """

    desk: TicketDesk
    text: str
    settled: bool = False

    def weigh(self, model: str, standing: Standing) -> None:
        """Let the request go where it is answered sooner.

        Raises:
            HandedOnError: it should not stay here.
        """
        if not self.settled and (standing.wait_s > 0 or standing.load_s > 0):
            self._decide(model, standing)

    def believed(self) -> Ticket | None:
        """The ticket, if it can be believed and names this node."""
        return self.desk.believed(self.text)

    async def weigh_load(self, model: str, load_left_s: Callable[[], float]) -> None:
        """The same before it waits for a load, of which it is said how long it will still take.

        A node that has just started is sent requests by lists of before, and has not heard of the route keys yet, which
        the first answer of an origin tells: without them the request would wait for the whole load.

        Raises:
            HandedOnError: it should not stay here.
        """
        load_s = load_left_s()
        self.weigh(model, Standing(load_s=load_s))
        if load_s > 0 and self.desk.lacks_key(self.text) and await self.desk.learns(min(load_s, KEYS_WAIT_S)):
            self.weigh(model, Standing(load_s=load_left_s()))

    def settle(self) -> None:
        """It has a place here."""
        self.settled = True

    def instead_of(self, error: EdgewardError, model: str) -> HandedOnError | None:
        """Where a request goes instead of getting this refusal; None when it must get it."""
        if isinstance(error, HandedOnError):
            return error
        reason = _REFUSALS.get(type(error))
        if reason is None:
            return None
        try:
            self._decide(model, Standing(refusal=reason))
        except HandedOnError as moved:
            return moved
        return None

    def _decide(self, model: str, standing: Standing) -> None:
        offer = self.desk.offer(self.text, model)
        decided = hand_on(offer, standing) if offer is not None else None
        if offer is None or decided is None:
            return
        self.desk.count(decided)
        stop = offer.stops[decided.to]
        signed, way = split_way(self.text)
        here = "never" if standing.refusal is not None else f"{decided.here_s * 1000:.0f}"
        raise HandedOnError(
            f"node {stop.node_id} will answer sooner",
            url=stop.url,
            ticket=with_way(signed, way._replace(tried=offer.tried | {offer.here})),
            why=f"{decided.reason}; here_ms={here}; there_ms={decided.there_s * 1000:.0f}",
        )


def _differ(ticket_model: str, model: str) -> bool:
    """Whether these are names of two models, whatever version or channel they ask for."""
    return bool(model) and bare_name(ticket_model) != bare_name(model)
