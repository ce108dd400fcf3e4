"""Outgoing: what an origin has to tell and has not told yet. Bounded: of each node only the last word counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.sharing.bus import MESSAGE_LIMIT_BYTES
from origin.sharing.messages import PROBED_LIMIT, ROUTED_LIMIT, TRAVEL_LIMIT_MS, News, Routed
from registry.wire import to_msgpack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from origin.api import NodeReport
    from origin.sharing.messages import OriginCard, Probed

_RELEASE_LIMIT_BYTES = 256  # of a name and a version; such hints fill at most half a message
_MESSAGE_FILL_BYTES = MESSAGE_LIMIT_BYTES * 3 // 4  # the rest is for the card and the hints
_HINT_LIMIT = 1024


class Outgoing:
    """Heartbeats by node, requests by release and round trips by client, until `messages` takes them."""

    def __init__(self) -> None:
        self._reports: dict[str, NodeReport] = {}
        self._routed: dict[tuple[str, str, str], Routed] = {}
        self._probed: dict[str, Probed] = {}

    def __bool__(self) -> bool:
        return bool(self._reports or self._routed or self._probed)

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

    def add_probed(self, probed: Probed) -> None:
        """What a client has measured; past so many clients in one message, the others are not told of it."""
        if len(self._probed) < PROBED_LIMIT:
            self._probed[probed.client] = probed

    def clear(self) -> None:
        """Forget all of it."""
        self._reports = {}
        self._probed = {}
        self._routed = {}

    def messages(self, card: OriginCard) -> Iterator[bytes]:
        """All of it as messages under the limit, at least one; it is forgotten with that."""
        reports, hints, probed = self._reports, tuple(self._routed.values()), tuple(self._probed.values())
        self.clear()
        room = _MESSAGE_FILL_BYTES - len(to_msgpack((hints, probed)))
        packed: list[bytes] = []
        for report in reports.values():
            data = to_msgpack(report)
            if len(data) > _MESSAGE_FILL_BYTES:
                continue  # heartbeats are a thousand times shorter; the others hear of the node by the next one
            if len(data) > room:
                yield to_msgpack(News(card=card, reports=tuple(packed), routed=hints, probed=probed))
                packed, hints, probed, room = [], (), (), _MESSAGE_FILL_BYTES
            packed.append(data)
            room -= len(data) + 8
        yield to_msgpack(News(card=card, reports=tuple(packed), routed=hints, probed=probed))
