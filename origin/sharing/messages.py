"""What origins tell each other: one kind of message, and one kind of kept record. Bounded and checked when read."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from origin.api import Count, NodeId, NodeReport, Place, ProbedRtt
from origin.node_url import check_url
from origin.origins import is_origin_url
from origin.sharing.bus import MESSAGE_LIMIT_BYTES
from registry.errors import InputInvalidError
from registry.wire import from_msgpack, to_msgpack

OriginId = Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
ShortText = Annotated[str, Meta(max_length=2048)]
Address = Annotated[str, Meta(max_length=49)]
Key = Annotated[bytes, Meta(max_length=256)]

_REPORTS_LIMIT = 16_384
ROUTED_LIMIT = 1024
PROBED_LIMIT = 64
TRAVEL_LIMIT_MS = 60_000


class OriginCard(Struct, frozen=True, kw_only=True):
    """Who an origin is.

    Attributes:
        origin_id: made anew at each start.
        url: where nodes and clients reach it.
        nodes_url: where nodes with certificates report to it; "" where it hears none.
        route_keys: public keys that its tickets are checked with.
        leaving: it is about to stop.
    """

    origin_id: OriginId
    url: ShortText
    nodes_url: ShortText = ""
    software: ShortText = ""
    route_keys: Annotated[tuple[Key, ...], Meta(max_length=8)] = ()
    leaving: bool = False


class Routed(Struct, frozen=True, array_like=True):
    """Requests that an origin has just sent to a node for a release; the last one takes `travel_ms` to get there."""

    node_id: NodeId
    name: ShortText
    version: ShortText
    count: Annotated[int, Meta(ge=1, le=1024)]
    travel_ms: Annotated[int, Meta(ge=0, le=TRAVEL_LIMIT_MS)] = 0


class Probed(Struct, frozen=True, kw_only=True):
    """Round trips that a client has measured to nodes.

    Attributes:
        client: its address.
        place: where it says that it is.
    """

    client: Address
    rtts: Annotated[tuple[ProbedRtt, ...], Meta(min_length=1, max_length=16)]
    place: Place | None = None


class News(Struct, frozen=True, kw_only=True):
    """What one origin tells the others; also a sign of its life, with nothing in it.

    Attributes:
        reports: heartbeats that it has heard itself, each a `NodeReport` in msgpack, so that a damaged one spoils
            no other.
        routed: where it has sent requests.
        probed: what clients have told it of round trips.
    """

    card: OriginCard
    reports: Annotated[tuple[bytes, ...], Meta(max_length=_REPORTS_LIMIT)] = ()
    routed: Annotated[tuple[Routed, ...], Meta(max_length=ROUTED_LIMIT)] = ()
    probed: Annotated[tuple[Probed, ...], Meta(max_length=PROBED_LIMIT)] = ()


class KeptNode(Struct, frozen=True, kw_only=True):
    """The last-known state of a node, and which origin heard it."""

    origin_id: OriginId
    incarnation: Count
    number: Count
    report: bytes


def read_news(data: bytes) -> News:
    """The news in a message.

    Raises:
        InputInvalidError: too long, not msgpack, not of this shape, or from an origin that nobody can be sent to.
    """
    news = from_msgpack(_bounded(data), News)
    for param, url in (("card.url", news.card.url), ("card.nodes_url", news.card.nodes_url or news.card.url)):
        if not is_origin_url(url):
            raise InputInvalidError(f"{url[:120]!r} is not the URL of an origin", param=param)
    return news


def read_kept(data: bytes) -> KeptNode:
    """The node in a record.

    Raises:
        InputInvalidError: too long, not msgpack, or not of this shape.
    """
    return from_msgpack(_bounded(data), KeptNode)


def read_report(data: bytes) -> NodeReport:
    """A heartbeat that another origin heard.

    Raises:
        InputInvalidError: not a report, or one with a URL that no client may be sent to.
    """
    report = from_msgpack(data, NodeReport)
    check_url(report.url)
    return report


def kept_node(report: NodeReport, origin_id: str) -> bytes:
    """The record of a node."""
    return to_msgpack(
        KeptNode(
            origin_id=origin_id,
            incarnation=report.incarnation,
            number=report.number,
            report=to_msgpack(report),
        )
    )


def node_key(node_id: str) -> str:
    """The key of a node's record; `=` stands for the dots of its id, which keys may not end with or repeat."""
    return f"nodes.{node_id.replace('.', '=')}"


def outdates(report: NodeReport, stored: bytes) -> bool:
    """Whether a report is newer than a record, or the record is none."""
    try:
        kept = read_kept(stored)
    except InputInvalidError:
        return True
    return (report.incarnation, report.number) >= (kept.incarnation, kept.number)


def _bounded(data: bytes) -> bytes:
    if len(data) > MESSAGE_LIMIT_BYTES:
        raise InputInvalidError(f"{len(data)} bytes are more than the {MESSAGE_LIMIT_BYTES} of a message")
    return data
