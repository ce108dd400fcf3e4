"""Which node to ask: the origin's ranked list remembered, failing nodes set aside, retries kept few.

Ejection follows Envoy's outlier detection and the retry limit its retry budgets, with smaller numbers: a node
that fails n times in a row is set aside for 10 s · n. No clock is read here: `now_s` is the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection

    from origin.api import RankedNode, RouteAnswer

EJECTION_S = 10.0
EJECTION_LIMIT_S = 120.0
EJECTED_SHARE = 0.34
RETRY_SHARE = 0.1
RETRIES_FLOOR_COUNT = 3
USABLE_TTLS = 3
"""A list older than its TTL is used while a new one is fetched beside, up to this many TTLs."""

Freshness = Literal["absent", "fresh", "ageing", "stale"]


@dataclass(frozen=True, slots=True)
class _List:
    answer: RouteAnswer
    received_s: float


@dataclass(frozen=True, slots=True)
class _Failing:
    failures_count: int
    ejected_until_s: float


class Nearest:
    """Ranked nodes by model, and which of them fail."""

    def __init__(self) -> None:
        self._lists: dict[str, _List] = {}
        self._failing: dict[str, _Failing] = {}

    def learn(self, model: str, answer: RouteAnswer, now_s: float) -> None:
        """Remember the origin's answer, and forget failures of nodes that are in no list any more."""
        self._lists[model] = _List(answer, now_s)
        known = {node.node_id for kept in self._lists.values() for node in kept.answer.nodes}
        self._failing = {node_id: failing for node_id, failing in self._failing.items() if node_id in known}

    def expire(self, model: str) -> None:
        """Ask the origin next time; keep the list in case the origin is away."""
        kept = self._lists.get(model)
        if kept is not None:
            self._lists[model] = _List(kept.answer, float("-inf"))

    def freshness(self, model: str, now_s: float) -> Freshness:
        """Whether a new list is needed now (`absent`, `stale`), soon (`ageing`) or not yet (`fresh`)."""
        kept = self._lists.get(model)
        if kept is None:
            return "absent"
        age_s = now_s - kept.received_s
        if age_s <= kept.answer.ttl_s:
            return "fresh"
        return "ageing" if age_s <= USABLE_TTLS * kept.answer.ttl_s else "stale"

    def answer(self, model: str) -> RouteAnswer | None:
        """The list as the origin gave it."""
        kept = self._lists.get(model)
        return kept.answer if kept else None

    def age_s(self, model: str, now_s: float) -> float | None:
        """How old the list is, in seconds; infinite after `expire`, None when there is none."""
        kept = self._lists.get(model)
        return now_s - kept.received_s if kept else None

    def next_node(self, model: str, now_s: float, tried: Collection[str] = ()) -> RankedNode | None:
        """The best node not tried yet; nodes set aside come last, the one back soonest first."""
        kept = self._lists.get(model)
        left = [node for node in kept.answer.nodes if node.node_id not in tried] if kept else []
        # Sorting is stable: the origin's order stays within those in good standing.
        return min(left, key=lambda node: self._ejected_until_s(node.node_id, now_s), default=None)

    def ejected(self, model: str, now_s: float) -> frozenset[str]:
        """Ids of the model's nodes that are set aside now."""
        kept = self._lists.get(model)
        ids = [node.node_id for node in kept.answer.nodes] if kept else []
        return frozenset(node_id for node_id in ids if self._ejected_until_s(node_id, now_s) > 0)

    def succeeded(self, node_id: str) -> None:
        """The node answered: it is in good standing again."""
        self._failing.pop(node_id, None)

    def failed(self, model: str, node_id: str, now_s: float) -> None:
        """The node failed: set it aside, unless too many of the model's nodes are set aside already."""
        before = self._failing.get(node_id)
        count = (before.failures_count if before else 0) + 1
        until_s = before.ejected_until_s if before else 0.0
        kept = self._lists.get(model)
        allowed_count = ejections_allowed_count(len(kept.answer.nodes) if kept else 0)
        if len(self.ejected(model, now_s) | {node_id}) <= allowed_count:
            until_s = now_s + min(EJECTION_S * count, EJECTION_LIMIT_S)
        self._failing[node_id] = _Failing(count, until_s)

    def _ejected_until_s(self, node_id: str, now_s: float) -> float:
        failing = self._failing.get(node_id)
        return failing.ejected_until_s if failing and failing.ejected_until_s > now_s else 0.0


def ejections_allowed_count(nodes_count: int) -> int:
    """How many of so many nodes may be set aside at once: 34 %, at least one, never all."""
    return min(max(1, int(EJECTED_SHARE * nodes_count)), max(0, nodes_count - 1))


def connect_timeout_s(rtt_ms: float | None) -> float:
    """How long to wait for a connection: three round trips, from 150 ms to 1 s; 1 s when none is known."""
    if rtt_ms is None:
        return 1.0
    return min(max(3 * rtt_ms / 1000, 0.15), 1.0)


class RetryBudget:
    """Counts requests that wait for their first byte; a tenth of them, at least three, may be retries."""

    def __init__(self) -> None:
        self.active_count = 0
        self.retrying_count = 0

    def begin(self) -> None:
        """A request starts."""
        self.active_count += 1

    def end(self, *, retried: bool) -> None:
        """A request has its first byte or has failed; `retried` says whether `take_retry` allowed it."""
        self.active_count -= 1
        self.retrying_count -= retried

    def take_retry(self) -> bool:
        """Whether one more request may be sent again; if so, it is counted until its `end`."""
        allowed = self.retrying_count < max(RETRIES_FLOOR_COUNT, int(RETRY_SHARE * self.active_count))
        self.retrying_count += allowed
        return allowed
