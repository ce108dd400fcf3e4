"""Outgoing: what an origin has to tell and has not told yet. Bounded: of each node only the last word counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.sharing.bus import MESSAGE_LIMIT_BYTES
from origin.sharing.messages import ROUTED_LIMIT, TRAVEL_LIMIT_MS, News, Routed
from registry.wire import to_msgpack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from origin.api import NodeReport
    from origin.sharing.messages import OriginCard

_RELEASE_LIMIT_BYTES = 256  # of a name and a version; such hints fill at most half a message
_MESSAGE_FILL_BYTES = MESSAGE_LIMIT_BYTES * 3 // 4  # the rest is for the card and the hints
_HINT_LIMIT = 1024


class Outgoing:
    """Heartbeats by node and requests by release, until `messages` takes them."""

    def __init__(self) -> None:
        self._reports: dict[str, NodeReport] = {}
        self._routed: dict[tuple[str, str, str], Routed] = {}

    def __bool__(self) -> bool:
        return bool(self._reports or self._routed)

    def add_report(self, report: NodeReport) -> None:
        """A heartbeat; it replaces an earlier one of the same node."""
        self._reports[report.node_id] = report

    def add_routed(self, node_id: str, release: tuple[str, str], *, travel_s: float = 0.0) -> None:
        """A request that was sent to a node."""
        key = (node_id, *release)
        before = self._routed.get(key)
        if before is None and (
            len(self._routed) >= ROUTED_LIMIT
            or sum(len(part.encode("utf-8", "replace")) for part in release) > _RELEASE_LIMIT_BYTES
        ):
            return
        count = min(before.count + 1, _HINT_LIMIT) if before is not None else 1
        self._routed[key] = Routed(*key, count, min(round(travel_s * 1000), TRAVEL_LIMIT_MS))

    def clear(self) -> None:
        """Forget all of it."""
        self._reports = {}
        self._routed = {}

    def messages(self, card: OriginCard) -> Iterator[bytes]:
        """All of it as messages under the limit, at least one; it is forgotten with that."""
        reports, routed = self._reports, self._routed
        self.clear()
        hints = tuple(routed.values())
        room = _MESSAGE_FILL_BYTES - len(to_msgpack(hints))
        packed: list[bytes] = []
        for report in reports.values():
            data = to_msgpack(report)
            if len(data) > _MESSAGE_FILL_BYTES:
                continue  # heartbeats are a thousand times shorter; the others hear of the node by the next one
            if len(data) > room:
                yield to_msgpack(News(card=card, reports=tuple(packed), routed=hints))
                packed, hints, room = [], (), _MESSAGE_FILL_BYTES
            packed.append(data)
            room -= len(data) + 8
        yield to_msgpack(News(card=card, reports=tuple(packed), routed=hints))
