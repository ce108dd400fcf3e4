"""Heartbeats in, directives out, and the list of the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from origin.api import Directive, NodeList, NodeReport, NodeView
from origin.geo.peers import peers_by_release
from origin.web.context import context_of
from origin.web.payload import read_message, reply
from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from aiohttp import web

    from origin.api import Peer, WantedRelease
    from origin.web.context import Context

_REPORT_LIMIT_BYTES = 2**20
_URL_LIMIT = 2048


async def report(request: web.Request) -> web.Response:
    """POST /v1/nodes/{node_id}/report: take in a heartbeat and say what the node should hold."""
    context = context_of(request)
    heard, _ = await read_message(request, NodeReport, _REPORT_LIMIT_BYTES)
    named = request.match_info["node_id"]
    if heard.node_id != named:
        raise InputInvalidError(
            f"the URL speaks of node {named[:80]!r} and the body of {heard.node_id!r}", param="node_id"
        )
    _check_url(heard.url)
    context.fleet.accept(heard, context.now_s())
    context.telemetry.reports.inc()
    wanted = context.releases.wanted(heard)
    return reply(
        request,
        Directive(
            wanted=wanted,
            heartbeat_s=context.config.heartbeat_s,
            peers=_peers(context, heard, wanted),
            route_keys=context.route_keys.public_keys(context.now_s()),
        ),
    )


async def nodes(request: web.Request) -> web.Response:
    """GET /v1/nodes: the fleet as the origin sees it."""
    context = context_of(request)
    view = context.fleet.view(context.now_s())
    return reply(
        request,
        NodeList(tuple(NodeView(report=s.report, state=s.state, age_s=s.age_s) for s in view.standings)),
    )


def _peers(
    context: Context, heard: NodeReport, wanted: tuple[WantedRelease, ...] | None
) -> dict[str, tuple[Peer, ...]]:
    # The fleet is looked through only for a node that misses something: most heartbeats are of nodes that do not.
    held = {
        (model.name, model.version)
        for model in heard.models
        if model.state in {"on_disk", "loading", "asleep", "ready"}
    }
    if all((release.name, release.version) in held for release in wanted or ()):
        return {}
    standings = context.fleet.view(context.now_s()).standings
    return peers_by_release(heard, wanted, standings, context.releases.wanted)


def _check_url(url: str) -> None:
    """Clients are redirected to this URL, so it must be one and nothing else."""
    try:
        parts = urlsplit(url)
        sound = (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.port != 0
            and not (parts.username or parts.password or parts.query or parts.fragment)
            and url.isascii()
            and url.isprintable()
            and " " not in url
            and len(url) <= _URL_LIMIT
        )
    except ValueError:  # a port that is no number, a broken IPv6 address
        sound = False
    if not sound:
        raise InputInvalidError(
            f"{url[:200]!r} is not a URL that clients can be sent to: "
            "http:// or https:// with a host, without user, query and fragment",
            param="url",
        )
