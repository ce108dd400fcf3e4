"""Round trips to nodes as this client measured them: which are due to be measured, and what the origin is told."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from origin.api import ProbedRtt

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from origin.api import Peer, RankedNode

ROUNDS_COUNT = 3
"""A route may become slower: only the least of so many last rounds counts."""
GOOD_FOR_S = 600.0
DUE_AFTER_S = 30.0
REPORT_ROWS_COUNT = 16


class _Round(NamedTuple):
    rtt_ms: float
    probes_count: int
    at_s: float


@dataclass(slots=True)
class _Measured:
    tried_s: float = float("-inf")
    rounds: deque[_Round] = field(default_factory=lambda: deque(maxlen=ROUNDS_COUNT))
    reported: bool = True


class RoundTrips:
    """The last rounds of probes of each node."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Measured] = {}

    def due(self, nodes: Iterable[RankedNode | Peer], now_s: float) -> list[RankedNode | Peer]:
        """The nodes not probed within 30 s; they count as being probed from now on."""
        found: list[RankedNode | Peer] = []
        for node in nodes:
            measured = self._nodes.setdefault(node.node_id, _Measured())
            if now_s - measured.tried_s >= DUE_AFTER_S:
                measured.tried_s = now_s
                found.append(node)
        return found

    def learn(self, node_id: str, rtt_ms: float, count: int, now_s: float) -> None:
        """A round of `count` probes took at least `rtt_ms`."""
        measured = self._nodes.setdefault(node_id, _Measured())
        measured.rounds.append(_Round(rtt_ms, count, now_s))
        measured.reported = False

    def rtt_ms(self, node_id: str, now_s: float) -> float | None:
        """The least round trip of the last rounds; None when there is none of the last ten minutes."""
        measured = self._nodes.get(node_id)
        if measured is None:
            return None
        return min((r.rtt_ms for r in measured.rounds if now_s - r.at_s <= GOOD_FOR_S), default=None)

    def probes_work(self, now_s: float) -> bool:
        """Whether any node answered a probe in the last ten minutes: if none does, probes are blocked."""
        return any(
            measured.rounds and now_s - measured.rounds[-1].at_s <= GOOD_FOR_S
            for measured in self._nodes.values()
        )

    def take_report(self, now_s: float) -> tuple[ProbedRtt, ...]:
        """What the origin has not been told yet; it counts as told from now on."""
        rows: list[ProbedRtt] = []
        for node_id, measured in self._nodes.items():
            if not measured.reported and len(rows) < REPORT_ROWS_COUNT:
                measured.reported = True
                last = measured.rounds[-1]
                rows.append(
                    ProbedRtt(
                        node_id=node_id,
                        rtt_ms=last.rtt_ms,
                        count=last.probes_count,
                        age_s=max(0.0, now_s - last.at_s),
                    )
                )
        return tuple(rows)

    def forget_all_but(self, known: Collection[str]) -> None:
        """Forget the nodes that are in no list any more."""
        self._nodes = {node_id: measured for node_id, measured in self._nodes.items() if node_id in known}
