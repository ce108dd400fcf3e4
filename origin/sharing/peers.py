"""Peers: the other origins, known by what they tell and forgotten by the local time of the last word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from origin.sharing.messages import OriginCard

_PEERS_LIMIT_COUNT = 64


@dataclass(frozen=True, slots=True)
class _Heard:
    card: OriginCard
    heard_s: float


class Peers:
    """The other origins; no clock is read here.

    Args:
        silent_after_s: without a word for this long, an origin is not heard any more.
        forget_after_s: how long its URL and its keys are still told to nodes then.
    """

    def __init__(self, *, silent_after_s: float, forget_after_s: float) -> None:
        self._silent_after_s = silent_after_s
        self._forget_after_s = forget_after_s
        self._heard: dict[str, _Heard] = {}

    def hear(self, card: OriginCard, now_s: float) -> bool:
        """Note a word of an origin; whether it was not heard before. One that leaves is forgotten at once."""
        known = self._heard.get(card.origin_id)
        if card.leaving:
            self._heard.pop(card.origin_id, None)
            return False
        if known is None and len(self._heard) >= _PEERS_LIMIT_COUNT:
            del self._heard[min(self._heard, key=lambda peer: self._heard[peer].heard_s)]
        # An origin that started again at the same address has a new id; its former self is not coming back.
        for former in [i for i, h in self._heard.items() if h.card.url == card.url and i != card.origin_id]:
            del self._heard[former]
        self._heard[card.origin_id] = _Heard(card, now_s)
        return known is None or now_s - known.heard_s > self._silent_after_s

    def heard(self, now_s: float) -> frozenset[str]:
        """Ids of the origins that are heard now."""
        return frozenset(
            peer for peer, heard in self._heard.items() if now_s - heard.heard_s <= self._silent_after_s
        )

    def known(self, now_s: float) -> tuple[tuple[OriginCard, float], ...]:
        """The origins that are not forgotten yet, by URL, and how long ago each was heard."""
        for peer in [i for i, h in self._heard.items() if now_s - h.heard_s > self._forget_after_s]:
            del self._heard[peer]
        cards = sorted(self._heard.values(), key=lambda heard: heard.card.url)
        return tuple((heard.card, now_s - heard.heard_s) for heard in cards)
