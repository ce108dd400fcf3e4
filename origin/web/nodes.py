"""Heartbeats in, directives out, and the list of the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from origin.api import Directive, NodeReport
from origin.api_fleet import NodeList, NodeView
from origin.geo.peers import peers_by_release
from origin.node_url import check_url
from origin.web.context import NODE_SHOWN, context_of
from origin.web.enrolment import check_reporter
from origin.web.payload import read_message, reply
from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from aiohttp import web

    from origin.api import Peer, WantedRelease
    from origin.web.context import Context

_REPORT_LIMIT_BYTES = 2**20


async def report(request: web.Request) -> web.Response:
    """POST /v1/nodes/{node_id}/report: take in a heartbeat and say what the node should hold."""
    context = context_of(request)
    heard, _ = await read_message(request, NodeReport, _REPORT_LIMIT_BYTES)
    named = request.match_info["node_id"]
    if heard.node_id != named:
        raise InputInvalidError(
            f"the URL speaks of node {named[:80]!r} and the body of {heard.node_id!r}", param="node_id"
        )
    shown = request[NODE_SHOWN]
    check_reporter(request, shown, heard.node_id)
    check_url(heard.url)
    heard = replace(heard, enrolled=shown is not None)
    context.sharing.accept(heard)
    if shown is not None:
        context.enrolled.add(heard.node_id)
    context.whereabouts.hear(heard, context.now_s())
    context.telemetry.rtts.labels("kernel").inc(len(heard.rtts))
    context.telemetry.reports.inc()
    wanted = context.releases.wanted(heard)
    return reply(
        request,
        Directive(
            wanted=wanted,
            heartbeat_s=context.config.heartbeat_s,
            peers=_peers(context, heard, wanted),
            route_keys=context.sharing.route_keys(),
            client_keys=context.client_keys.sha256 if context.client_keys is not None else "",
            mark_salt=context.mark_salt(),
            origins=context.sharing.origin_urls(with_certificate=shown is not None),
            cut_off=context.sharing.cut_off,
        ),
    )


async def nodes(request: web.Request) -> web.Response:
    """GET /v1/nodes: the fleet as the origin sees it."""
    context = context_of(request)
    view = context.fleet.view(context.now_s())
    return reply(
        request,
        NodeList(
            tuple(
                NodeView(
                    report=_shown(s.report), state=s.state, age_s=s.age_s, heard_by=s.heard_by, held=s.held
                )
                for s in view.standings
            ),
            context.sharing.view(),
        ),
    )


def _shown(report: NodeReport) -> NodeReport:
    """A report without its sketches: they are for origins, long, and mean nothing to whoever has not the salt."""
    if not any(model.prefixes for model in report.models):
        return report
    return replace(report, models=tuple(replace(model, prefixes=b"") for model in report.models))


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
