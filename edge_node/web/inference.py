"""`/v2`: the Open Inference Protocol for the tensors of any ONNX model, with binary tensors both ways."""

from __future__ import annotations

import asyncio
from functools import wraps
from typing import TYPE_CHECKING

from aiohttp import web

from edge_node.api.inference import ModelMetadata, ProtocolError, ServerMetadata, TensorCard
from edge_node.computing import check_ability
from edge_node.engines import Infer, Inferred
from edge_node.errors import ModelNotHereError, RequestInvalidError
from edge_node.web.handing import moved_instead
from edge_node.web.letting_in import caller_of
from edge_node.web.parts import COMPUTING, PARTS, exchange_of
from edge_node.web.payload import read_plain_body, respond
from edge_node.web.tensor_forms import read_infer, write_infer
from registry.bodies import JSON_TYPE, form_of
from registry.errors import BodyUnsupportedError, EdgewardError, InputInvalidError
from registry.refusals import retry_headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from edge_node.engines import TensorSpec

    Handler = Callable[[web.Request], Awaitable[web.Response]]

_JSON_BYTES = "Inference-Header-Content-Length"
_BINARY_TYPE = "application/octet-stream"
# Reading and writing more than this takes long enough to be felt by the others on the same loop.
_INLINE_LIMIT_BYTES = 64 << 10


def _in_protocol(handler: Handler) -> Handler:
    """Errors in the protocol's form instead of OpenAI's."""

    @wraps(handler)
    async def explained(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except EdgewardError as error:
            moved = moved_instead(request, error)
            if moved is not None:
                return moved
            exchange_of(request).account.error = error.code
            body = ProtocolError(error=error.message, code=error.code, param=error.param)
            return respond(
                request, body, status=error.http_status, headers=retry_headers(error.retry_after_s)
            )

    return explained


async def server_metadata(request: web.Request) -> web.Response:
    """What answers here."""
    return respond(request, ServerMetadata(version=request.app[PARTS].software))


async def live(request: web.Request) -> web.Response:
    """200 as long as the process lives."""
    return respond(request, {"live": True})


async def ready(request: web.Request) -> web.Response:
    """200 when `/readyz` says so too, else 503."""
    is_ready = request.app[PARTS].status().ready
    headers = {"Cache-Control": "no-store"}
    return respond(request, {"ready": is_ready}, status=200 if is_ready else 503, headers=headers)


@_in_protocol
async def model_metadata(request: web.Request) -> web.Response:
    """A model's tensors."""
    reference = _reference(request)
    caller_of(request).check_model(reference)
    async with request.app[COMPUTING].lease(reference) as lease:
        check_ability(lease.name, lease.ready, "tensors")
        answer = ModelMetadata(
            name=lease.name,
            versions=(lease.version,),
            inputs=_cards(lease.ready.inputs),
            outputs=_cards(lease.ready.outputs),
        )
    return respond(request, answer)


@_in_protocol
async def model_ready(request: web.Request) -> web.Response:
    """200 when the model answers now; else 404 or 503."""
    reference = _reference(request)
    caller_of(request).check_model(reference)
    async with request.app[COMPUTING].lease(reference) as lease:
        return respond(request, {"name": lease.name, "ready": True})


@_in_protocol
async def infer(request: web.Request) -> web.Response:
    """Tensors through a model."""
    _check_form(request)
    computing, account = request.app[COMPUTING], exchange_of(request).account
    body = await read_plain_body(request)
    json_bytes = _json_bytes(request, len(body))
    aside = len(body) > _INLINE_LIMIT_BYTES
    try:
        asked, tensors = (
            await asyncio.to_thread(read_infer, body, json_bytes) if aside else read_infer(body, json_bytes)
        )
    except InputInvalidError as error:
        raise RequestInvalidError(error.message, param=error.param) from error
    command = Infer(request_id="", inputs=tensors, outputs=tuple(wanted.name for wanted in asked.outputs))
    told = await computing.compute(account, _reference(request), "tensors", lambda _: command)
    inferred, name, version = told.computed, told.name, told.version
    assert isinstance(inferred, Inferred), "only this answers an inference"
    answer_bytes = sum(len(tensor.data) for tensor in inferred.outputs)
    if answer_bytes > _INLINE_LIMIT_BYTES:
        head, after = await asyncio.to_thread(write_infer, asked, inferred, name=name, version=version)
    else:
        head, after = write_infer(asked, inferred, name=name, version=version)
    headers = {"x-edgeward-release": account.release}
    if after:
        headers |= {_JSON_BYTES: str(len(head)), "Content-Type": _BINARY_TYPE}
    else:
        headers["Content-Type"] = JSON_TYPE
    return web.Response(body=head + after, headers=headers)


def routes() -> list[web.RouteDef]:
    """The protocol's URLs; a model's name may have slashes, so the longer patterns come first."""
    table = [
        web.get("/v2", server_metadata),
        web.get("/v2/health/live", live),
        web.get("/v2/health/ready", ready),
    ]
    for model in ("/v2/models/{name:.+}/versions/{version:[^/]+}", "/v2/models/{name:.+}"):
        table += [
            web.get(f"{model}/ready", model_ready),
            web.post(f"{model}/infer", infer),
            web.get(model, model_metadata),
        ]
    return table


def _reference(request: web.Request) -> str:
    """The model that the URL names, as a reference."""
    name, version = request.match_info["name"], request.match_info.get("version")
    if version is None:
        return name
    if "@" in name or ":" in name:
        raise ModelNotHereError(f"{name[:200]!r} states a version or channel already, and the URL another")
    return f"{name}@{version}"


def _json_bytes(request: web.Request, body_bytes: int) -> int:
    """How much of the body is JSON."""
    stated = request.headers.get(_JSON_BYTES)
    if stated is None:
        return body_bytes
    if not (stated.isascii() and stated.isdigit() and len(stated) < 16 and int(stated) <= body_bytes):
        raise RequestInvalidError(
            f"{_JSON_BYTES} must be the number of bytes of the JSON at the beginning of the body",
            param=_JSON_BYTES,
        )
    return int(stated)


def _check_form(request: web.Request) -> None:
    """Refuse what is not of the protocol, and what a web page could send without its browser asking us first.

    Triton's own clients state no Content-Type, or that of bytes; they are no browsers, and so send no Origin.
    """
    stated = request.headers.get("Content-Type", "")
    if form_of(stated) == JSON_TYPE:
        return
    if stated.partition(";")[0].strip().lower() not in {"", _BINARY_TYPE} or (
        "Origin" in request.headers and _JSON_BYTES not in request.headers
    ):
        raise BodyUnsupportedError(
            f"the body must be JSON, or JSON and bytes: say so with Content-Type: {JSON_TYPE} or {_BINARY_TYPE}",
            param="Content-Type",
        )


def _cards(specs: Sequence[TensorSpec]) -> tuple[TensorCard, ...]:
    return tuple(TensorCard(name=spec.name, datatype=spec.datatype, shape=spec.shape) for spec in specs)
