"""Who comes in: the one place where an origin looks at client keys, before any URL does anything.

What a request may do is decided by the route that it resolved to; a URL that does not exist needs a key too. What nodes
fetch is for nodes, by their certificates at the nodes' door, and for the holders of keys; unenrolled nodes are served
where they are heard. Whoever signs in a redirect's ticket for a key has checked it here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from origin.client_keys import FILE_SUFFIX
from origin.errors import ApiKeyInvalidError, NodeNotEnrolledError
from origin.gate import ANYBODY, Caller
from origin.identity.standing import may_report_unenrolled
from origin.web.context import NODE_SHOWN, context_of
from registry.errors import EdgewardError
from registry.listening import is_loopback

if TYPE_CHECKING:
    from origin.gate import Gate
    from origin.web.context import Context

OPEN = frozenset({"/healthz", "/readyz"})
"""For anybody; strangers from elsewhere are told by `/readyz` whether the origin is ready, and no more."""
ENROLMENT = frozenset({"/v1/enrolment/authority", "/v1/enrolment/join", "/v1/enrolment/renew"})
"""For those who have a join token or a certificate, at the nodes' door, which looks at these itself."""
FOR_NODES = frozenset(
    {
        "/v1/nodes/{node_id}/report",
        "/v1/catalog",
        "/v1/manifests/{name}/{version}",
        "/v1/blobs/{key}",
        "/v1/deltas/{new}/{base}",
        "/v1/trust/{file}",
    }
)
FROM_HERE = frozenset({"/metrics"})
"""Without a key only from this machine itself."""

_PROXIED = ("X-Forwarded-For", "Forwarded", "Via")
_CALLER = web.RequestKey("caller", Caller)


def let_in(request: web.Request) -> Caller:
    """Whoever sent a request; `let_out` must follow.

    Raises:
        ApiKeyInvalidError, ClientKeysUnknownError: nobody who may.
        KeyRateError, KeyBusyError: it may, and not now.
    """
    context = context_of(request)
    if context.gate is None:
        return ANYBODY
    try:
        caller = _caller(request, context, context.gate)
        context.gate.enter(caller, context.now_s())
    except EdgewardError as error:
        context.telemetry.keys_refused.labels(error.code).inc()
        raise
    request[_CALLER] = caller
    return caller


def let_out(request: web.Request) -> None:
    """Count a request out, if it was let in."""
    gate = context_of(request).gate
    if gate is not None and _CALLER in request:
        gate.leave(request[_CALLER])


def caller_of(request: web.Request) -> Caller:
    """Who sent a request that was let in."""
    caller: Caller = request.get(_CALLER, ANYBODY)
    return caller


def is_insider(request: web.Request) -> bool:
    """Whether a request may see how the origin is."""
    gate = context_of(request).gate
    return gate is None or caller_of(request).key is not None or _is_from_here(request)


def check_list_reader(request: web.Request, file: str) -> None:
    """Refuse the list of client keys to whoever is no node: it names clients. Raises NodeNotEnrolledError."""
    if (
        file.endswith(FILE_SUFFIX)
        and request[NODE_SHOWN] is None
        and not _unenrolled_heard(context_of(request))
    ):
        raise NodeNotEnrolledError("the list of client keys is for nodes with a certificate of this fleet")


def _caller(request: web.Request, context: Context, gate: Gate) -> Caller:
    if request[NODE_SHOWN] is not None:  # a node of the fleet, at the door for nodes
        return ANYBODY
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else ""
    free = (
        route in OPEN
        or route in ENROLMENT
        or (route in FOR_NODES and (_unenrolled_heard(context) or route.endswith("/report")))
        or (route in FROM_HERE and _is_from_here(request))
    )
    shown = request.headers.getall("Authorization", [])
    if len(shown) > 1:
        raise ApiKeyInvalidError("there are several Authorization headers; send one")
    try:
        return gate.prove(shown[0] if shown else "", context.now_unix_s())
    except EdgewardError:
        if free:
            return ANYBODY
        raise


def _unenrolled_heard(context: Context) -> bool:
    config = context.config
    return may_report_unenrolled(loopback=is_loopback(config.host), insecure=config.insecure)


def _is_from_here(request: web.Request) -> bool:
    return is_loopback(request.remote or "") and not any(name in request.headers for name in _PROXIED)
