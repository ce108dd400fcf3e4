"""The origin's web application: every URL, on one screen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from aiohttp import web

from origin.web import blobs, bundles, catalog, enrolment, health, nodes, routes, rtts
from origin.web import trust as signed
from origin.web.answering import answering, mark_with_id
from origin.web.context import CONTEXT
from origin.web.front import Front
from origin.web.route_desk import RouteDesk

if TYPE_CHECKING:
    from origin.web.context import Context


def make_app(context: Context) -> web.Application:
    """The application that answers for these parts; serve it with `make_runner`."""
    # Bodies are bounded where they are read, each kind by a limit of its own.
    app = web.Application(middlewares=[answering])
    app[CONTEXT] = context
    app.on_response_prepare.append(mark_with_id)
    app.add_routes(
        [
            # Nodes report and are told what to hold.
            web.post("/v1/nodes/{node_id}/report", nodes.report),
            web.get("/v1/nodes", nodes.nodes),
            # Nodes join, at a door of their own.
            web.get("/v1/enrolment/authority", enrolment.authority),
            web.post("/v1/enrolment/join", enrolment.join),
            web.post("/v1/enrolment/renew", enrolment.renew),
            web.post("/v1/enrolment/challenge", enrolment.challenge),
            web.post("/v1/enrolment/join-aws", enrolment.join_aws),
            # Nodes fetch what they should hold.
            web.get("/v1/catalog", catalog.catalog),
            web.get("/v1/manifests/{name:.+}/{version}", catalog.manifest),
            web.get("/v1/blobs/{key:.+}", blobs.blob),  # HEAD too
            web.get("/v1/deltas/{new}/{base}", blobs.delta),  # HEAD too
            # Nodes check what they were told.
            web.get("/v1/trust/{file}", signed.trust),
            # Machines are made nodes.
            web.get("/install.sh", bundles.installer),
            web.get("/bundles/{name}", bundles.bundle),
            # Clients ask for a node, or are sent to one.
            web.post("/v1/route", routes.route),
            web.post("/v1/rtts", rtts.rtts),
            web.post("/v1/chat/completions", routes.redirect),
            web.post("/v1/completions", routes.redirect),
            web.post("/v1/responses", routes.redirect),
            web.post("/v1/embeddings", routes.redirect),
            web.post("/v1/rerank", routes.redirect),
            web.post("/v1/classify", routes.redirect),
            *routes.inference_routes(),
            web.get("/v1/models", catalog.models),
            web.get("/v1/models/{name:.+}", catalog.model),
            # Operators look.
            web.get("/healthz", health.healthz),
            web.get("/readyz", health.readyz),
            web.get("/metrics", health.metrics),
        ]
    )
    return app


class OriginRunner(web.AppRunner):
    """Runs the application behind the front that answers requests for lists."""

    @property
    def server(self) -> web.Server | None:
        """What makes the protocol of each connection, which is all that sites want of it."""
        server = super().server
        if server is None:
            return None
        desk = RouteDesk(self.app[CONTEXT], asyncio.get_running_loop().call_soon)
        return cast("web.Server", lambda: Front(desk, server))


def make_runner(
    app: web.Application, *, stop_grace_s: float, connection_idle_s: float = 75.0
) -> web.AppRunner:
    """What runs the application; compressed bodies reach it as they came, so that their size is bounded there.

    Args:
        app: from `make_app`.
        stop_grace_s: how long running answers may take to end.
        connection_idle_s: how long a connection may go without a whole request's head.
    """
    # aiohttp waits this long twice: for answers to end by themselves, then for those it has cancelled.
    return OriginRunner(
        app,
        access_log=None,
        auto_decompress=False,
        shutdown_timeout=stop_grace_s / 2,
        # Counted from the last response to the next whole head, so it ends those who send one slowly too.
        keepalive_timeout=connection_idle_s,
    )
