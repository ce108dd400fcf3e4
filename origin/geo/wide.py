"""Wide: the round trips between a place and many nodes that all clients there share, worked out as they are asked for.

What a client or its own network has measured stands above it, and is for `origin.geo.network`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from origin.api import Place

    Floats = NDArray[np.float64]
    Codes = NDArray[np.int8]
    Numbers = NDArray[np.int64]

RttSource = Literal["probe", "prefix", "as", "region", "place", "none"]
"""What an estimate rests on: the client's own probes; its network's; its AS's nearby; its country's; places and what is
learned between places; or nothing."""
SOURCES: tuple[RttSource, ...] = ("none", "place", "region", "as", "prefix", "probe")
"""The sources by their codes in arrays."""
CODES: dict[RttSource, int] = {source: code for code, source in enumerate(SOURCES)}


class Estimates(NamedTuple):
    """The round trips that are expected between one client and several nodes.

    Attributes:
        codes: what each rests on, an index into `SOURCES`.
        apart_km: how far the nodes are away; NaN where a place is unknown.
    """

    rtts_ms: Floats
    codes: Codes
    apart_km: Floats


class WideKey(NamedTuple):
    """Whom a `Wide` is shared by; a country counts only where there is no place."""

    place: Place | None
    as_number: int | None
    region: str


class Wide:
    """Estimates by the numbers of an `origin.geo.node_index.NodeIndex`, for those that were asked for so far.

    Attributes:
        epoch: the network's when it was begun.
        known: which are worked out; the others are NaN.
    """

    __slots__ = ("apart_km", "codes", "epoch", "known", "made_at_s", "rtts_ms")

    def __init__(self, epoch: int, made_at_s: float, count: int) -> None:
        self.epoch = epoch
        self.made_at_s = made_at_s
        self.rtts_ms = np.full(count, np.nan)
        self.apart_km = np.full(count, np.nan)
        self.codes = np.zeros(count, dtype=np.int8)
        self.known = np.zeros(count, dtype=np.bool_)

    def missing(self, numbers: Numbers, count: int) -> Numbers:
        """Those of these numbers that are still to be worked out, each once; there are `count` nodes by now."""
        more_count = count - len(self.known)
        if more_count > 0:
            self.rtts_ms = np.concatenate([self.rtts_ms, np.full(more_count, np.nan)])
            self.apart_km = np.concatenate([self.apart_km, np.full(more_count, np.nan)])
            self.codes = np.concatenate([self.codes, np.zeros(more_count, dtype=np.int8)])
            self.known = np.concatenate([self.known, np.zeros(more_count, dtype=np.bool_)])
        left: Numbers = numbers[~self.known[numbers]]
        return np.unique(left) if len(left) else left
