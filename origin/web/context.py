"""What the origin's answers share: its settings, the fleet, the releases, the clock and the counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable

    from origin.config import OriginConfig
    from origin.fleet import Fleet
    from origin.releases import Blobs, Releases
    from origin.sharing.sharing import Sharing
    from origin.telemetry import Telemetry
    from origin.trust import TrustFiles


@dataclass(frozen=True, slots=True)
class Context:
    """One origin's parts; `now_s` is a clock that does not go back."""

    config: OriginConfig
    fleet: Fleet
    releases: Releases
    blobs: Blobs
    trust: TrustFiles
    telemetry: Telemetry
    sharing: Sharing
    now_s: Callable[[], float]


CONTEXT = web.AppKey("context", Context)


def context_of(request: web.Request) -> Context:
    """The parts of the origin that got this request."""
    return request.app[CONTEXT]
