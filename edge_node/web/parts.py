"""What the handlers of a node work with, and what belongs to one exchange of request and response."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from aiohttp import web

from edge_node.answer import Account, Answering
from edge_node.cache.answers import AnswerCache
from edge_node.client_rtts import ClientRtts
from edge_node.computing import Computing
from registry.fetch.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_node.account import Tracing
    from edge_node.api.health import NodeStatus
    from edge_node.api.replies import ErrorBody
    from edge_node.offers import TicketDesk
    from edge_node.residents import Residents
    from edge_node.scheduler import Scheduler
    from edge_node.telemetry import Metrics
    from origin.gate import Gate


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much and how long.

    Attributes:
        body_limit_bytes: the largest request body as it travels.
        unpacked_limit_bytes: the largest request body after decompression.
        body_wait_s: how long a body may take to arrive.
        stream_patience_s: how long a stream waits for the prompt to be read, so that an error until then
            gets its proper status; after that it begins with comments.
        keep_alive_s: the longest silence of a stream.
        connection_idle_s: how long a connection may go without a whole request's head, be it silent or slow.
    """

    body_limit_bytes: int = 8 * 2**20
    unpacked_limit_bytes: int = 32 * 2**20
    body_wait_s: float = 60.0
    stream_patience_s: float = 5.0
    keep_alive_s: float = 10.0
    connection_idle_s: float = 75.0


def _no_cache() -> AnswerCache:
    return AnswerCache(limit_bytes=0, age_limit_s=0.0, clock=time.monotonic)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    """All that the front of a node stands on.

    Attributes:
        status: the node's state now, for `/readyz`.
        shelf: the chunks that other nodes may ask for.
        clock: monotonic time in seconds, for measuring.
        wall_clock: Unix time in seconds, for `created`.
        software: the version that runs here.
        cache: the answers kept.
        tracing: who is told of every request that has ended.
        rtts: notes the round trips of clients' connections.
        last_answers: whether connections end with the answer that is given, since this process is leaving.
        desk: reads the tickets of requests; None looks at none.
        gate: lets requests in by their client keys; None lets everybody in.
    """

    node_id: str
    residents: Residents
    scheduler: Scheduler
    metrics: Metrics
    status: Callable[[], NodeStatus]
    limits: Limits = field(default_factory=Limits)
    shelf: Shelf = field(default_factory=Shelf)
    clock: Callable[[], float] = time.monotonic
    wall_clock: Callable[[], float] = time.time
    software: str = ""
    cache: AnswerCache = field(default_factory=_no_cache)
    tracing: Tracing | None = None
    desk: TicketDesk | None = None
    rtts: ClientRtts = field(default_factory=ClientRtts)
    gate: Gate | None = None
    last_answers: Callable[[], bool] = bool


PARTS = web.AppKey("parts", NodeParts)
ANSWERING = web.AppKey("answering", Answering)
COMPUTING = web.AppKey("computing", Computing)


class BegunStream(Protocol):
    """A response whose head is sent: an error can only be its last event."""

    response: web.StreamResponse

    async def fail(self, error: ErrorBody) -> None:
        """End it with this error."""


@dataclass(slots=True)
class Exchange:
    """One request and what came of it so far; `stream` is set once its response has begun as a stream.

    `body` is its body as it travelled, once it is here, and `body_key` the name of a response to exactly that.
    """

    account: Account
    body: bytes | None = None
    body_key: bytes | None = None
    stream: BegunStream | None = None


_EXCHANGE = web.RequestKey("exchange", Exchange)


def exchange_of(request: web.BaseRequest) -> Exchange:
    """The exchange that the outermost middleware opened for this request."""
    return request[_EXCHANGE]


def open_exchange(request: web.Request, account: Account) -> Exchange:
    """Attach a new exchange to a request."""
    request[_EXCHANGE] = exchange = Exchange(account)
    return exchange


def has_exchange(request: web.BaseRequest) -> bool:
    """Whether the request came as far as the middlewares (a malformed one does not)."""
    return _EXCHANGE in request
