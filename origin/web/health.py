"""Whether the origin lives, whether it can decide, and its counters."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, get_args

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from origin.api import NodeState
from origin.web.context import context_of
from origin.web.letting_in import is_insider

if TYPE_CHECKING:
    from origin.fleet import FleetView

_STATES: tuple[NodeState, ...] = get_args(NodeState)


async def healthz(_request: web.Request) -> web.Response:
    """GET /healthz: the process answers."""
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """GET /readyz: 503 until the catalog was read once; after that what is stale, with 200, since it is served on."""
    context = context_of(request)
    releases = context.releases
    view = context.fleet.view(context.now_s())
    gate, now_unix_s = context.gate, context.now_unix_s()
    checks = gate is None or not gate.problem(now_unix_s)
    ready = releases.view is not None and checks
    if not is_insider(request):
        return web.json_response({"status": "ready" if ready else "not ready"}, status=200 if ready else 503)
    body = {
        "status": "ready"
        if ready
        else "waiting for the object store"
        if checks
        else "no client key can be checked",
        "catalog": {
            "state": "none" if releases.view is None else "stale" if releases.problem else "fresh",
            "age_s": releases.age_s,
            "problem": releases.problem,
            "releases_count": len(releases.view.releases) if releases.view is not None else 0,
        },
        "trust": {
            "expires_in_s": context.trust.expires_in_s(),
            "renews": context.trust.renews,
            "problem": context.trust.problem,
        },
        "enrolment": {
            "open": context.enrolment is not None,
            "problem": context.enrolment.problem if context.enrolment else "",
        },
        "client_keys": None
        if gate is None
        else {
            "problem": gate.problem(now_unix_s),
            "keys_count": len(gate.keys),
            "age_s": gate.age_s(now_unix_s),
        },
        "nodes": _counts(view),
        "fleet_isolated": view.isolated,
        "sharing": msgspec.to_builtins(context.sharing.view()),
    }
    return web.json_response(body, status=200 if ready else 503)


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics: Prometheus' text format."""
    context = context_of(request)
    telemetry, releases = context.telemetry, context.releases
    view = context.fleet.view(context.now_s())
    for state, count in _counts(view).items():
        telemetry.nodes.labels(state).set(count)
    telemetry.fleet_isolated.set(view.isolated)
    telemetry.catalog_age.set(float("nan") if releases.age_s is None else releases.age_s)
    for role, expires_in_s in context.trust.expires_in_s().items():
        telemetry.trust_expires.labels(role).set(expires_in_s)
    telemetry.catalog_stale.set(bool(releases.problem))
    keys_age_s = None if context.gate is None else context.gate.age_s(context.now_unix_s())
    telemetry.keys_age.set(float("nan") if keys_age_s is None else keys_age_s)
    enrolment = context.enrolment
    telemetry.certificate_ends.set(enrolment.door.not_after_unix_s if enrolment else float("nan"))
    sharing = context.sharing.view()
    telemetry.sharing_connected.set(sharing is None or sharing.connected)
    telemetry.origins_heard.set(0 if sharing is None else sum(origin.heard for origin in sharing.origins))
    return web.Response(body=telemetry.rendered(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _counts(view: FleetView) -> dict[NodeState, int]:
    """How many nodes are in each state, the empty ones too."""
    states = Counter(standing.state for standing in view.standings)
    return {state: states[state] for state in _STATES}
