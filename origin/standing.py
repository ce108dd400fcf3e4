"""Standing: one node at one moment, the thresholds of membership, and since when a release has been in its state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from origin.api import ModelReport, ModelState, NodeReport, NodeState

ReleaseKey = tuple[str, str]
"""A release's name and version."""


@dataclass(frozen=True, slots=True)
class FleetRules:
    """The thresholds of membership.

    Attributes:
        vanish_window_s: nodes that fall silent within this time of one another vanish together.
        vanish_least_count: fewer nodes than this vanish by ordinary chance (someone stopped them).
        vanish_hold_s: how long nodes that vanished together are held.
        forget_after_s: how long a silent node stays listed as down.
        nodes_limit_count: how many nodes are remembered at most.
    """

    heartbeat_s: float = 1.0
    suspect_after_count: int = 2
    down_after_count: int = 3
    vanish_window_s: float = 5.0
    vanish_least_count: int = 3
    vanish_hold_s: float = 300.0
    forget_after_s: float = 86_400.0
    nodes_limit_count: int = 10_000

    @property
    def suspect_after_s(self) -> float:
        """The age of a report past which its node is suspect."""
        return self.suspect_after_count * self.heartbeat_s

    @property
    def down_after_s(self) -> float:
        """The age of a report past which its node is down."""
        return self.down_after_count * self.heartbeat_s


@dataclass(frozen=True, slots=True)
class Watch:
    """Since when a release has been in its state on a node, and how many bytes were there at that moment."""

    state: ModelState
    since_s: float
    since_bytes: int


@dataclass(frozen=True, slots=True)
class Standing:
    """One node at one moment.

    Attributes:
        held: it is silent, and kept as suspect because most nodes, or the origin that hears it, fell silent with it.
        heard_by: the id of the origin that told us of it; "" when it reports here.
        routed_age_s: for each release, how long ago requests were sent here that no report speaks of yet.
        watches: for each release of the report, since when it is in its state.
    """

    report: NodeReport
    state: NodeState
    age_s: float
    held: bool = False
    heard_by: str = ""
    routed_age_s: Mapping[ReleaseKey, tuple[float, ...]] = field(default_factory=dict)
    watches: Mapping[ReleaseKey, Watch] = field(default_factory=dict)


def watched(before: Watch | None, model: ModelReport, now_s: float) -> Watch:
    """The watch of a release as of this report: the one before while its state has not changed."""
    if before is not None and before.state == model.state and before.since_bytes <= model.fetched_bytes:
        return before
    return Watch(model.state, now_s, model.fetched_bytes)
