"""Round trips in: what clients have measured to nodes beside their work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.api import RttReceipt, RttReport
from origin.geo.places import PLACE_HEADER, PLACE_PARAMETER, client_place
from origin.sharing.messages import Probed
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
    places = context.fleet.places(probe.node_id for probe in report.probes)
    taken_count = context.whereabouts.hear_probes(remote, stated, report.probes, places, now_s)
    if taken_count:
        context.sharing.tell_probed(Probed(client=remote, place=stated, rtts=report.probes))
    context.telemetry.rtts.labels("client").inc(taken_count)
    return reply(request, RttReceipt(taken_count))
