"""The origin's ranked lists as remembered, by model: how old each is, and when to ask for the next.

A list is renewed before its time is over as long as there are requests, and never in their way. When the origin is
away the last list goes on being used, and the origin is asked again after a pause that grows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from msgspec import structs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from origin.api import RankedNode, RouteAnswer

USABLE_TTLS = 3
"""A list older than its TTL is used while a new one is fetched beside, up to this many TTLs."""
RENEWED_AT_SHARE = 0.75
RENEWALS_APART_S = 1.0
PAUSE_MOST_S = 30.0
FORMER_MOST_COUNT = 8

Freshness = Literal["absent", "fresh", "ageing", "stale"]


@dataclass(frozen=True, slots=True)
class _List:
    answer: RouteAnswer
    stops: tuple[str, ...]
    received_s: float
    used_s: float
    refusals_count: int = 0
    not_before_s: float = float("-inf")
    expired: bool = False


class RouteLists:
    """The last list of each model."""

    def __init__(self) -> None:
        self._lists: dict[str, _List] = {}
        self._former: dict[str, dict[str, RankedNode]] = {}

    def learn(
        self, model: str, answer: RouteAnswer, now_s: float, *, keep: Collection[str] = ()
    ) -> RouteAnswer:
        """Remember the origin's answer; nodes of the list before that are in `keep` stay in it, by their score.

        The origin was told to leave these out because they are set aside here; they come back from here, too.
        """
        before, stops = self._lists.get(model), tuple(node.node_id for node in answer.nodes)
        if before is not None:
            there = {node.node_id for node in answer.nodes}
            kept = [
                node for node in before.answer.nodes if node.node_id in keep and node.node_id not in there
            ]
            answer = structs.replace(answer, nodes=_merged(answer.nodes, kept))
            self._remember(model, before.answer.nodes, {node.node_id for node in answer.nodes})
        self._lists[model] = _List(answer, stops, now_s, before.used_s if before else now_s)
        return answer

    def _remember(self, model: str, before: tuple[RankedNode, ...], there: Collection[str]) -> None:
        nodes = {node.node_id: node for node in before} | self._former.get(model, {})
        left = [node for node_id, node in nodes.items() if node_id not in there]
        self._former[model] = {node.node_id: node for node in left[:FORMER_MOST_COUNT]}

    def former(self, model: str) -> tuple[RankedNode, ...]:
        """Nodes of earlier lists that are not in this one, the latest first: for when no origin can name others."""
        return tuple(self._former.get(model, {}).values())

    def answer(self, model: str) -> RouteAnswer | None:
        """The list as it is used."""
        kept = self._lists.get(model)
        return kept.answer if kept else None

    def nodes(self, model: str) -> tuple[RankedNode, ...]:
        """The nodes of the list; none when there is no list."""
        kept = self._lists.get(model)
        return kept.answer.nodes if kept else ()

    def age_s(self, model: str, now_s: float) -> float:
        """How long ago the list was made; 0 without one."""
        kept = self._lists.get(model)
        return max(0.0, now_s - kept.received_s) if kept else 0.0

    def ticket(self, model: str, now_s: float, *, passed_by: Collection[str] = ()) -> str:
        """The signed list to send along, so that nodes may hand requests on; empty when it has run out.

        Nodes that were passed by are marked as `origin.tickets` has it, which is too heavy for a client to import.
        """
        kept = self._lists.get(model)
        if kept is None or not kept.answer.ticket or now_s - kept.received_s >= kept.answer.ttl_s:
            return ""
        marks = "".join(f"{n:x}" for n, node_id in enumerate(kept.stops[:16]) if node_id in passed_by)
        return f"{kept.answer.ticket}.~{marks}" if marks else kept.answer.ticket

    def known(self) -> dict[str, RankedNode]:
        """Every node of every list, by id."""
        return {node.node_id: node for kept in self._lists.values() for node in kept.answer.nodes}

    def used(self, model: str, now_s: float) -> None:
        """A request for the model comes."""
        kept = self._lists.get(model)
        if kept is not None:
            self._lists[model] = replace(kept, used_s=now_s)

    def expire(self, model: str) -> None:
        """Ask the origin before the next request; keep the list in case the origin is away."""
        kept = self._lists.get(model)
        if kept is not None:
            self._lists[model] = replace(kept, expired=True)

    def refused(self, model: str, now_s: float, chance: Callable[[], float]) -> None:
        """The origin did not give a new list: ask again after 1, 2, 4 … 30 s, up to half of it less by chance."""
        kept = self._lists.get(model)
        if kept is not None:
            pause_s = min(2.0 ** min(kept.refusals_count, 10), PAUSE_MOST_S) * (1 - chance() / 2)
            self._lists[model] = replace(
                kept, refusals_count=kept.refusals_count + 1, not_before_s=now_s + pause_s
            )

    def pausing(self, model: str, now_s: float) -> bool:
        """Whether the origin has just failed to give a list."""
        kept = self._lists.get(model)
        return kept is not None and now_s < kept.not_before_s

    def freshness(self, model: str, now_s: float) -> Freshness:
        """Whether a new list is needed before the next request (`absent`, `stale`), beside it, or not yet."""
        kept = self._lists.get(model)
        if kept is None:
            return "absent"
        age_s, ttl_s = now_s - kept.received_s, kept.answer.ttl_s
        if self.pausing(model, now_s):
            return "fresh"  # as fresh as it can be: the origin has just failed to give a newer one
        if kept.expired or age_s > USABLE_TTLS * ttl_s:
            return "stale"
        return "fresh" if age_s < max(RENEWED_AT_SHARE * ttl_s, RENEWALS_APART_S) else "ageing"

    def renewal_in_s(self, model: str, now_s: float, idle_after_s: float) -> float | None:
        """How long until the list should be renewed without being asked for; None when nobody uses it now."""
        kept = self._lists.get(model)
        if kept is None or now_s - kept.used_s > idle_after_s:
            return None
        due_s = kept.received_s + max(RENEWED_AT_SHARE * kept.answer.ttl_s, RENEWALS_APART_S)
        return max(0.0, due_s - now_s, kept.not_before_s - now_s)


def _merged(nodes: tuple[RankedNode, ...], kept: list[RankedNode]) -> tuple[RankedNode, ...]:
    """The nodes in their order, and each kept one before the first that scores worse."""
    merged = list(nodes)
    for node in kept:
        at = next((i for i, other in enumerate(merged) if other.score_s > node.score_s), len(merged))
        merged.insert(at, node)
    return tuple(merged)
