"""Who comes in: the one place where a node looks at client keys, before anything else looks at a request.

What a request may do is decided by the route that it resolved to, so no spelling of a URL leads around; a URL that does
not exist needs a key too. Without an Authorization header the ticket of a redirect stands for the key that the origin
has checked, since clients drop their key on the way to another host.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from edge_node.web.handing import carried_by
from edge_node.web.parts import PARTS
from origin.errors import ApiKeyInvalidError
from origin.gate import ANYBODY, Caller
from registry.errors import EdgewardError
from registry.listening import is_loopback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from origin.gate import Gate

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

OPEN = frozenset({"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/openapi.json"})
"""For anybody: whether the node lives, and how it is asked."""
FOR_NODES = frozenset({"/v1/chunks/have", "/v1/chunks/{sha256}"})
"""For other nodes, which have no client keys: who knows a chunk's name, 256 bits, has its manifest from an origin."""
FROM_HERE = frozenset({"/metrics"})
"""Without a key only from this machine itself."""
PROXIED = ("X-Forwarded-For", "Forwarded", "Via")
"""Whoever sent a request with one of these is a proxy, and not the client."""

_CALLER = web.RequestKey("caller", Caller)
_REFUSAL = web.RequestKey("refusal", EdgewardError)


@web.middleware
async def let_in(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find out who asks; a refusal is noted, and becomes an answer where all errors do."""
    gate = request.app[PARTS].gate
    if gate is None:
        return await handler(request)
    try:
        caller = _caller(request, gate)
        gate.enter(caller, request.app[PARTS].clock())
    except EdgewardError as error:
        request.app[PARTS].metrics.key_refused(reason=error.code)
        request[_REFUSAL] = error
        return await handler(request)
    request[_CALLER] = caller
    try:
        return await handler(request)
    finally:
        gate.leave(caller)


def is_let_in(request: web.Request) -> bool:
    """Whether a request may be answered: a caller was found for it, or none is asked for."""
    return request.app[PARTS].gate is None or _CALLER in request


def require_let_in(request: web.Request) -> None:
    """Refuse what may not be answered. Raises what `let_in` found."""
    if not is_let_in(request):
        raise request[_REFUSAL]


def caller_of(request: web.Request) -> Caller:
    """Who sent a request that was let in."""
    caller: Caller = request.get(_CALLER, ANYBODY)
    return caller


def is_insider(request: web.Request) -> bool:
    """Whether a request may see how the node is: it has a key, comes from this machine, or no key is asked for."""
    return request.app[PARTS].gate is None or caller_of(request).key is not None or _is_from_here(request)


def _caller(request: web.Request, gate: Gate) -> Caller:
    parts = request.app[PARTS]
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else ""
    shown = request.headers.getall("Authorization", [])
    now_unix_s = parts.wall_clock()
    if not shown:
        if route in OPEN or route in FOR_NODES or (route in FROM_HERE and _is_from_here(request)):
            return ANYBODY
        carried = carried_by(request)
        ticket = carried.believed() if carried is not None else None
        if ticket is not None and ticket.key_id:
            return gate.vouched(ticket.key_id, ticket.model, now_unix_s)
    if len(shown) > 1:
        raise ApiKeyInvalidError("there are several Authorization headers; send one")
    if route in OPEN or route in FOR_NODES:
        try:
            return gate.prove(shown[0], now_unix_s)
        except EdgewardError:  # open to whoever has none, so to whoever has a wrong one
            return ANYBODY
    return gate.prove(shown[0] if shown else "", now_unix_s)


def _is_from_here(request: web.Request) -> bool:
    return is_loopback(request.remote or "") and not any(name in request.headers for name in PROXIED)
