"""One request of a caller: what was tried for it, and where each try has got to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from origin.api import RankedNode


class Journey:
    """Where one try of a request has got to: which node has it now, and how many handed it on."""

    __slots__ = ("__weakref__", "handed_on_count", "node", "sent", "streams")

    def __init__(self, node: RankedNode) -> None:
        self.node: RankedNode | None = node
        self.handed_on_count = 0
        self.sent = False
        self.streams = False  # its answer goes on after it has begun

    @property
    def node_id(self) -> str:
        """Which node has it now; empty when it is one that the origin did not name."""
        return self.node.node_id if self.node is not None else ""


@dataclass(slots=True)
class Call:
    """One request of the caller, over all of its attempts; each attempt has a copy with a journey of its own."""

    model: str
    started_s: float
    deadline_s: float
    attempts_count: int = 0
    tried: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    retries_count: int = 0
    waited: bool = False
    permitted: bool = False
    hedged: bool = False
    journey: Journey | None = None

    @property
    def handed_on_count(self) -> int:
        """How many nodes handed this attempt on to the next."""
        return self.journey.handed_on_count if self.journey is not None else 0
