"""Pool: the nodes that speak of one model, on one channel or on any, and what is known of that model in general."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from origin.api import ModelReport
    from origin.member import Seat

UNMEASURED_SERVICE_S = 1.0
UNMEASURED_LOAD_S = 5.0

PoolKey = tuple[str, str | None]
"""A model's name, and the channel that its nodes follow; None for all of them."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What stands in for a figure that a node has not measured: the median over those that have.

    Attributes:
        least_token_s: the least time that any node takes to read a token.
    """

    service_s: float
    prefill_tokens_per_s: float | None
    load_s: float
    least_token_s: float


class Pool:
    """Seats by node id.

    Attributes:
        kept: what others have worked out of who is in the pool and where; emptied whenever that changes.
    """

    def __init__(self) -> None:
        self.seats: dict[str, Seat] = {}
        self.kept: dict[Hashable, Any] = {}
        self._measured: Measured | None = None
        self._measured_at_s = 0.0

    def put(self, seat: Seat) -> None:
        """A node has joined, or has moved."""
        self.seats[seat.node_id] = seat
        self.changed()

    def drop(self, node_id: str) -> None:
        """A node has left."""
        if self.seats.pop(node_id, None) is not None:
            self.changed()

    def changed(self) -> None:
        """Forget what was worked out."""
        self.kept.clear()
        self._measured = None

    def faster(self, rate: float) -> None:
        """A node has measured a rate of reading; if it is the fastest now, that is known at once."""
        known = self._measured
        if known is not None and rate > 0 and 1 / rate < known.least_token_s:
            self._measured = Measured(known.service_s, known.prefill_tokens_per_s, known.load_s, 1 / rate)

    def measured(self, now_s: float, kept_s: float) -> Measured:
        """The medians, at most `kept_s` old; of nodes that may answer."""
        if self._measured is None or now_s - self._measured_at_s >= kept_s:
            self._measured = measured(
                [
                    offer.model
                    for seat in self.seats.values()
                    if seat.member.open
                    for offer in seat.offers
                    if offer.answers or offer.loading
                ]
            )
            self._measured_at_s = now_s
        return self._measured


def measured(models: Sequence[ModelReport]) -> Measured:
    """The medians over these reports of a model."""
    services = [m.service_s for m in models if m.service_s is not None]
    rates = [m.prefill_tokens_per_s for m in models if m.prefill_tokens_per_s]
    loads = [m.load_s for m in models if m.load_s is not None]
    return Measured(
        service_s=median(services) if services else UNMEASURED_SERVICE_S,
        prefill_tokens_per_s=median(rates) if rates else None,
        load_s=median(loads) if loads else UNMEASURED_LOAD_S,
        least_token_s=1 / max(rates) if rates else 0.0,
    )
