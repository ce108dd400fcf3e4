"""What the origin's answers share: its settings, the fleet, the releases, the clock and the counters."""

from __future__ import annotations

import random
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from origin.geo.network import Network
from origin.geo_files import GeoFiles
from origin.whereabouts import Whereabouts

if TYPE_CHECKING:
    from collections.abc import Callable

    from origin.client_keys import ClientKeys
    from origin.config import OriginConfig
    from origin.fleet import Fleet
    from origin.gate import Gate
    from origin.identity.certificates import NodeCertificate
    from origin.identity.enrolment import Enrolment
    from origin.releases import Blobs, Releases
    from origin.route_keys import RouteKeys
    from origin.sharing.sharing import Sharing
    from origin.spans import Spans
    from origin.telemetry import Telemetry
    from origin.trust import TrustFiles


@dataclass(frozen=True, slots=True)
class Context:
    """One origin's parts; `now_s` is a clock that does not go back, `now_unix_s` the one on the wall.

    `chance` gives numbers between 0 and 1: a few requests explore.

    Attributes:
        enrolment: None where this origin does not hold the key of the fleet's authority.
        gate: lets clients in by their keys; None lets everybody in.
        client_keys: the list that nodes are told of; None where an origin does not follow it.
        spans: where spans go; None where they go nowhere.
        enrolled: ids of nodes that have reported with a certificate since this origin started.
    """

    config: OriginConfig
    fleet: Fleet
    releases: Releases
    blobs: Blobs
    trust: TrustFiles
    telemetry: Telemetry
    sharing: Sharing
    route_keys: RouteKeys
    now_s: Callable[[], float]
    now_unix_s: Callable[[], float] = time.time
    chance: Callable[[], float] = random.random
    whereabouts: Whereabouts = field(default_factory=lambda: Whereabouts(Network(), GeoFiles(())))
    enrolment: Enrolment | None = None
    gate: Gate | None = None
    client_keys: ClientKeys | None = None
    spans: Spans | None = None
    enrolled: set[str] = field(default_factory=set)

    _own_salt: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def mark_salt(self) -> bytes:
        """What marks of prompts are salted with: the fleet's; an origin without its key has one of its own."""
        return self.enrolment.door.authority.mark_salt if self.enrolment else self._own_salt


CONTEXT = web.AppKey("context", Context)
NODE_NAMED = web.RequestKey("node_named", str)
"""The id of the node that an answer names first."""
NODE_SHOWN: web.RequestKey[NodeCertificate | None] = web.RequestKey("node_shown", object)  # type: ignore[arg-type]


def context_of(request: web.Request) -> Context:
    """The parts of the origin that got this request."""
    return request.app[CONTEXT]


def remote_of(request: web.Request) -> str:
    """The client's address, past the proxies that the origin trusts; "" for one without."""
    forwarded_for = request.headers.getall("X-Forwarded-For", ())
    return context_of(request).whereabouts.client_address(request.remote or "", forwarded_for)
