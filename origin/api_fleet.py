"""The messages by which an origin shows its fleet: each node as it sees it, and how it stands with other origins."""

from __future__ import annotations

from msgspec import Struct

from origin.api import NodeReport, NodeState, Seconds


class NodeView(Struct, frozen=True, kw_only=True):
    """A node as the origin sees it.

    Attributes:
        age_s: time since its last report.
        heard_by: the id of the origin that told of it; "" when it reports to the one that answers.
        held: it is silent, and likelier out of our hearing than down.
    """

    report: NodeReport
    state: NodeState
    age_s: Seconds
    heard_by: str = ""
    held: bool = False


class OriginView(Struct, frozen=True, kw_only=True):
    """Another origin of the fleet; `age_s` is the time since its last word."""

    origin_id: str
    url: str
    heard: bool
    age_s: Seconds


class SharingView(Struct, frozen=True, kw_only=True):
    """How an origin stands with the others.

    Attributes:
        connected: it reaches NATS.
        problem: why it does not; "" when it does.
        kept_problem: why last-known states of nodes are not kept for origins that come later; "" when they are.
    """

    connected: bool
    problem: str
    kept_problem: str
    origins: tuple[OriginView, ...]


class NodeList(Struct, frozen=True):
    """The fleet, by node id; `sharing` is None where one origin is alone."""

    nodes: tuple[NodeView, ...]
    sharing: SharingView | None = None
