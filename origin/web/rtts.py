"""Round trips in: what clients have measured to nodes beside their work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.api import RttReceipt, RttReport
from origin.geo.heard import Sample
from origin.geo.places import PLACE_HEADER, PLACE_PARAMETER, client_place
from origin.web.context import context_of, remote_of
from origin.web.payload import read_message, reply

if TYPE_CHECKING:
    from aiohttp import web

_REPORT_LIMIT_BYTES = 16 * 1024


async def rtts(request: web.Request) -> web.Response:
    """POST /v1/rtts: take in what a client has measured; nodes that nobody knows are left out."""
    context = context_of(request)
    report, _ = await read_message(request, RttReport, _REPORT_LIMIT_BYTES)
    stated, _ = client_place(
        report.place, request.query.get(PLACE_PARAMETER), request.headers.get(PLACE_HEADER)
    )
    now_s, remote = context.now_s(), remote_of(request)
    places = {s.report.node_id: s.report.place for s in context.fleet.view(now_s).standings}
    samples = tuple(
        Sample(probe.node_id, places[probe.node_id], probe.rtt_ms, probe.count, remote, now_s - probe.age_s)
        for probe in report.probes
        if probe.node_id in places
    )
    if remote:
        context.whereabouts.hear_client(remote, stated, samples, now_s)
    context.telemetry.rtts.labels("client").inc(len(samples))
    return reply(request, RttReceipt(len(samples) if remote else 0))
