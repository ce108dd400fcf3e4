"""`/healthz` (the process lives), `/readyz` (requests sent here are answered) and `/metrics`."""

from __future__ import annotations

from aiohttp import web
from msgspec.structs import replace

from edge_node.api.health import Readiness
from edge_node.telemetry import CONTENT_TYPE
from edge_node.web.letting_in import is_insider
from edge_node.web.parts import PARTS
from edge_node.web.payload import respond


async def healthz(request: web.Request) -> web.Response:
    """Answer as long as the event loop runs."""
    return respond(request, {"alive": True, "node_id": request.app[PARTS].node_id})


async def readyz(request: web.Request) -> web.Response:
    """200 when some wanted model is ready and the node is not draining; 503 otherwise, with the same body.

    Where client keys are asked for, strangers from elsewhere are told nothing but that.
    """
    parts = request.app[PARTS]
    status = parts.status()
    code, headers = 200 if status.ready else 503, {"Cache-Control": "no-store"}
    if not is_insider(request):
        return respond(
            request, {"ready": status.ready, "node_id": parts.node_id}, status=code, headers=headers
        )
    body = Readiness(
        ready=status.ready,
        node_id=parts.node_id,
        draining=status.draining,
        channel=status.channel,
        origin_up=status.origin_up,
        origin_age_s=status.origin_age_s,
        trust=status.trust,
        enrolment=status.enrolment,
        client_keys=status.client_keys,
        # The sketches are for origins alone.
        models=tuple(replace(model, prefixes=b"") for model in status.models),
    )
    return respond(request, body, status=code, headers=headers)


async def metrics(request: web.Request) -> web.Response:
    """Everything counted, in the Prometheus text format."""
    parts = request.app[PARTS]
    for name in parts.scheduler.names():
        load = parts.scheduler.load(name, now_s=parts.clock())
        parts.metrics.load(model=name, busy=load.busy, queued=load.queued)
    if parts.gate is not None:
        age_s = parts.gate.age_s(parts.wall_clock())
        parts.metrics.keys_known(keys_count=len(parts.gate.keys), age_s=age_s)
    parts.metrics.cache_size(used_bytes=parts.cache.used_bytes, entries_count=len(parts.cache))
    return web.Response(body=parts.metrics.page(), headers={"Content-Type": CONTENT_TYPE})
