"""Network: how many milliseconds lie between clients and nodes, as far as anybody has measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from origin.geo.distance import MEAN_DISTANCE_KM, distance_km, estimated_rtt_ms

if TYPE_CHECKING:
    from origin.api import Place
    from origin.geo.client_spot import ClientSpot

RttSource = Literal["probe", "prefix", "as", "region", "place", "none"]
"""What an estimate rests on: the client's own probes; its network's; its AS's; its country's; places and what is
learned between places; or nothing."""


@dataclass(frozen=True, slots=True)
class RttEstimate:
    """The round trip that is expected; `source` is the best knowledge that went in."""

    rtt_ms: float
    source: RttSource


class Network:
    """The round trips that have been reported, and what they say of those that have not.

    Attributes:
        epoch: grows whenever estimates may have changed noticeably.
    """

    def __init__(self) -> None:
        self.epoch = 0

    def estimate(self, spot: ClientSpot, node_id: str, node_place: Place | None, now_s: float) -> RttEstimate:
        """The round trip between a client and a node."""
        del node_id, now_s
        if spot.place is None or node_place is None:
            return RttEstimate(estimated_rtt_ms(MEAN_DISTANCE_KM), "none")
        return RttEstimate(estimated_rtt_ms(distance_km(spot.place, node_place)), "place")
