"""Pool: the nodes that speak of one model, on one channel or on any, and what is known of that model in general."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from origin.api import ModelReport
    from origin.member import Seat

UNMEASURED_SERVICE_S = 1.0
UNMEASURED_LOAD_S = 5.0
_TOKEN_LIMIT_S = 60.0

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
    """Seats by node id, and what routing works out of their figures, a row for each.

    Attributes:
        kept: what others have worked out of who is in the pool and where; emptied whenever that changes.
        rows: the seats in the order of the columns below.
        standing_s: what a request costs there whoever asks, but for reading; infinite where none may be sent.
        own: the columns' figures of each row apart (`origin.geo.score.Own`); None where no request may be sent.
        token_s: the time to read a token of the prompt.
        read_until_s: when all prompts of those before will have been read.
        doubt: the probability of a failure.
        touched: seats whose figures have changed since their row was worked out.
        moving: seats whose figures change with the clock.
        moved_s: when the rows of those were worked out last.
        unmeasured: seats with a figure that is the median of the others.
        doubtful: seats of nodes that may fail.
        several: seats where several releases answer, which no row can say.
        due: when rows are out of date because requests that were sent there are over, the first first.
        due_of: what was put there last of each seat, until it has passed.
    """

    def __init__(self) -> None:
        self.seats: dict[str, Seat] = {}
        self.kept: dict[Hashable, Any] = {}
        self.touched: set[Seat] = set()
        self.moving: set[Seat] = set()
        self.unmeasured: set[Seat] = set()
        self.doubtful: set[Seat] = set()
        self.several: set[Seat] = set()
        self.due: list[tuple[float, int, Seat]] = []
        self.due_of: dict[Seat, float] = {}
        self.moved_s = -math.inf
        self._stale = True
        self._lay_out()
        self._measured: Measured | None = None
        self._measured_at_s = 0.0

    def put(self, seat: Seat) -> None:
        """A node has joined, or has moved."""
        self.seats[seat.node_id] = seat
        if not any(touched is self.touched for touched in seat.touched_in):
            seat.touched_in.append(self.touched)
        self.changed()

    def drop(self, node_id: str) -> None:
        """A node has left."""
        seat = self.seats.pop(node_id, None)
        if seat is not None:
            seat.touched_in = [touched for touched in seat.touched_in if touched is not self.touched]
            self.changed()

    def changed(self) -> None:
        """Forget what was worked out."""
        self.kept.clear()
        self._measured = None
        self._stale = True

    def settle(self) -> None:
        """Have a row for each seat and none for others."""
        if self._stale:
            self._lay_out()

    def _lay_out(self) -> None:
        self._stale = False
        self.rows = list(self.seats.values())
        self.row_of = {seat.node_id: row for row, seat in enumerate(self.rows)}
        self.standing_s = np.full(len(self.rows), np.inf)
        self.own: list[Any] = [None] * len(self.rows)
        self.token_s = np.zeros(len(self.rows))
        self.read_until_s = np.zeros(len(self.rows))
        self.doubt = np.zeros(len(self.rows))
        for seats in (self.touched, self.moving, self.unmeasured, self.doubtful, self.several, self.due):
            seats.clear()
        self.due_of.clear()
        self.touched.update(self.rows)
        self.moved_s = -math.inf

    def faster(self, rate: float) -> None:
        """A node has measured a rate of reading; if it is the fastest now, that is known at once."""
        known = self._measured
        if known is not None and token_s(rate) < known.least_token_s:
            self._measured = Measured(
                known.service_s, known.prefill_tokens_per_s, known.load_s, token_s(rate)
            )

    def measured(self, now_s: float, kept_s: float) -> Measured:
        """The medians, at most `kept_s` old; of nodes that may answer."""
        if self._measured is None or now_s - self._measured_at_s >= kept_s:
            before = self._measured
            answering = (seat for seat in self.seats.values() if seat.member.open)
            self._measured = measured(
                [it.model for seat in answering for it in seat.offers if it.answers or it.loading]
            )
            self._measured_at_s = now_s
            if self._measured != before:
                self.touched.update(self.unmeasured)
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
        least_token_s=token_s(max(rates)) if rates else 0.0,
    )


def token_s(prefill_tokens_per_s: float) -> float:
    """The time to read a token; no node is so slow that it would take a minute."""
    return min(_TOKEN_LIMIT_S, 1 / prefill_tokens_per_s)
