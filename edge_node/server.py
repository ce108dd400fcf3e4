"""Every URL of a node on one screen, and what surrounds each request: its id, its account, its errors."""

from __future__ import annotations

import asyncio
import re
import uuid
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from edge_node.answer import Account, Answering
from edge_node.api.replies import error_body
from edge_node.computing import Computing
from edge_node.web import chunks, inference
from edge_node.web.catalog import list_models, show_model
from edge_node.web.chat import chat_completions
from edge_node.web.completions import completions
from edge_node.web.embeddings import embeddings
from edge_node.web.health import healthz, metrics, readyz
from edge_node.web.judging import classify, rerank
from edge_node.web.parts import (
    ANSWERING,
    COMPUTING,
    PARTS,
    Limits,
    NodeParts,
    exchange_of,
    has_exchange,
    open_exchange,
)
from edge_node.web.payload import respond
from registry.errors import EdgewardError
from registry.refusals import retry_headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from edge_node.api.replies import ErrorBody

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

__all__ = ["Limits", "NodeParts", "build_app"]

log = structlog.get_logger()

CLIENT_GONE = 499  # nginx's word for it; nobody is there to read it but the log and the metrics
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


def build_app(parts: NodeParts) -> web.Application:
    """A node's front as an application for any aiohttp runner."""
    app = web.Application(
        middlewares=[_account, _explain],
        handler_args={
            "auto_decompress": False,  # `payload` does it, within limits
            "handler_cancellation": True,  # a client that goes away ends its generation
            "access_log": None,  # the account is one line a request
        },
    )
    app[PARTS] = parts
    app[ANSWERING] = Answering(
        residents=parts.residents, scheduler=parts.scheduler, metrics=parts.metrics, clock=parts.clock
    )
    app[COMPUTING] = Computing(
        residents=parts.residents, scheduler=parts.scheduler, metrics=parts.metrics, clock=parts.clock
    )
    chunks.prepare(app)
    app.on_response_prepare.append(_sign)
    app.add_routes(
        [
            web.post("/v1/chat/completions", chat_completions),
            web.post("/v1/completions", completions),
            web.post("/v1/embeddings", embeddings),
            web.post("/v1/rerank", rerank),
            web.post("/v1/classify", classify),
            web.get("/v1/models", list_models),
            web.get("/v1/models/{id:.+}", show_model),
            web.get("/v1/chunks/have", chunks.have),
            web.get("/v1/chunks/{sha256}", chunks.chunk),
            web.get("/healthz", healthz),
            web.get("/readyz", readyz),
            web.get("/metrics", metrics),
            *_tensor_routes(),
        ]
    )
    return app


def _tensor_routes() -> list[web.RouteDef]:
    """The Open Inference Protocol; a model's name may have slashes, so the longer patterns come first."""
    routes = [
        web.get("/v2", inference.server_metadata),
        web.get("/v2/health/live", inference.live),
        web.get("/v2/health/ready", inference.ready),
    ]
    for model in ("/v2/models/{name:.+}/versions/{version:[^/]+}", "/v2/models/{name:.+}"):
        routes += [
            web.get(f"{model}/ready", inference.model_ready),
            web.post(f"{model}/infer", inference.infer),
            web.get(model, inference.model_metadata),
        ]
    return routes


@web.middleware
async def _account(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Open the request's account, and close it when the last byte is on its way."""
    parts = request.app[PARTS]
    resource = request.match_info.route.resource
    account = Account(
        request_id=_request_id(request),
        answer_id=uuid.uuid4().hex,
        route=resource.canonical if resource is not None else "unknown",
        arrived_s=parts.clock(),
    )
    open_exchange(request, account)
    status = CLIENT_GONE
    try:
        response = await handler(request)
        status = response.status
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            account.response_bytes = len(response.body)
    except (asyncio.CancelledError, ConnectionResetError):
        account.error = "client.gone" if _is_gone(request) else "node.stopped"
        raise
    else:
        return response
    finally:
        wide = request.method == "POST" or status >= 400
        account.close(status=status, now_s=parts.clock(), metrics=parts.metrics, wide=wide)


@web.middleware
async def _explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Make an OpenAI error of whatever goes wrong: a response, or the last event of a begun stream."""
    exchange = exchange_of(request)
    try:
        return await handler(request)
    except EdgewardError as error:
        status, headers = error.http_status, _retry_headers(error)
        body = error_body(error.message, code=error.code, http_status=status, param=error.param)
    except web.HTTPException as error:
        status, headers = error.status, _kept_headers(error)
        body = _http_error_body(request, error)
    except Exception as error:  # the one place where a bug becomes a status
        if isinstance(error, ConnectionResetError) and _is_gone(request):
            raise
        log.exception("request.failed", request_id=exchange.account.request_id)
        status, headers = 500, {"x-should-retry": "false"}
        body = error_body(
            "the node failed in a way that it did not expect; its log says more under this request id",
            code="internal",
            http_status=status,
        )
    exchange.account.error = body.error.code
    if exchange.stream is not None:
        exchange.account.status = status
        await exchange.stream.fail(body)
        return exchange.stream.response
    return respond(request, body, status=status, headers=headers)


async def _sign(request: web.BaseRequest, response: web.StreamResponse) -> None:
    """Say on every response which request it answers and which node does."""
    response.headers["Server"] = "edgeward"
    if isinstance(request, web.Request):
        response.headers["x-edgeward-node"] = request.app[PARTS].node_id
    if has_exchange(request):
        response.headers["x-request-id"] = exchange_of(request).account.request_id


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _request_id(request: web.Request) -> str:
    sent = request.headers.get("x-request-id", "")
    return sent if _REQUEST_ID.fullmatch(sent) else f"req-{uuid.uuid4().hex}"


def _retry_headers(error: EdgewardError) -> dict[str, str]:
    headers = retry_headers(error.retry_after_s)
    if error.retry == "never":
        headers["x-should-retry"] = "false"
    return headers


def _kept_headers(error: web.HTTPException) -> dict[str, str]:
    """What only the router knows: the methods that a URL has."""
    return {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}


def _http_error_body(request: web.Request, error: web.HTTPException) -> ErrorBody:
    if error.status == 404:
        message = f"this node has no URL {request.method} {request.path[:200]}"
        return error_body(message, code="url.unknown", http_status=404)
    if error.status == 405:
        message = f"{request.path[:200]} takes {error.headers.get('Allow', '')}, not {request.method}"
        return error_body(message, code="method.not_allowed", http_status=405)
    return error_body(error.reason, code="request.invalid", http_status=error.status)
