"""Setbacks: releases that could not be fetched or loaded, why, and when each is tried again; pure.

The pause doubles with each failure in a row. What the release itself says would be said again: it is tried rarely.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.errors import ArtifactError, EdgewardError

if TYPE_CHECKING:
    from collections.abc import Collection

    from edge_node.reconcile import ReleaseKey

_RETRY_S = (1.0, 30.0)
"""The pause after a first failure, doubled with each further one up to the second figure."""
_HOPELESS_RETRY_S = 300.0


@dataclass(frozen=True, slots=True)
class Setback:
    """How often in a row a release has failed, why the last time, and for how long it is left alone."""

    count: int
    detail: str
    pause_s: float
    until_s: float


class Setbacks:
    """The last setback of each release that has not come through since."""

    def __init__(self) -> None:
        self._last: dict[ReleaseKey, Setback] = {}

    def note(self, key: ReleaseKey, error: Exception, now_s: float) -> Setback:
        """It has failed, once more if it had before."""
        count = self._last[key].count + 1 if key in self._last else 1
        hopeless = isinstance(error, ArtifactError) and error.retry == "never"
        first_s, most_s = _RETRY_S
        pause_s = _HOPELESS_RETRY_S if hopeless else min(most_s, first_s * 2 ** min(count - 1, 16))
        detail = error.message if isinstance(error, EdgewardError) else f"{type(error).__name__}: {error}"
        self._last[key] = Setback(count, detail, pause_s, now_s + pause_s)
        return self._last[key]

    def of(self, key: ReleaseKey) -> Setback | None:
        """The last one of a release; None when it has none."""
        return self._last.get(key)

    def forget(self, key: ReleaseKey) -> None:
        """It has come through, or means something else now."""
        self._last.pop(key, None)

    def forget_all_but(self, keys: Collection[ReleaseKey]) -> None:
        """No other release matters any more."""
        self._last = {key: setback for key, setback in self._last.items() if key in keys}

    def until_s(self) -> dict[ReleaseKey, float]:
        """When each may be tried again."""
        return {key: setback.until_s for key, setback in self._last.items()}
