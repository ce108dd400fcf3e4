"""The OpenAPI 3.1 document of a node, made from the very types that requests are read into.

https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from edge_node.api.health import Readiness
from edge_node.api.inference import InferAnswer, InferRequest, ModelMetadata, ServerMetadata
from edge_node.api.judging import ClassifyList, ClassifyRequest, RerankList, RerankRequest
from edge_node.api.replies import (
    ChatChunk,
    ChatCompletion,
    EmbeddingList,
    ErrorBody,
    ModelCard,
    ModelList,
    TextCompletion,
)
from edge_node.api.requests import ChatRequest, CompletionRequest, EmbeddingsRequest
from edge_node.api.responses_replies import Response
from edge_node.api.responses_requests import ResponsesRequest
from edge_node.api.stream_forms import FRAMES_TYPE, SSE_TYPE

_REFUSED = {
    "POST": (400, 404, 408, 413, 415, 429, 500, 502, 503, 504),
    "GET": (400, 404, 429, 500, 503),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one URL.

    Attributes:
        answers: the type of a whole answer; None for one that is no message.
        chunk: the type of a stream's chunks.
        other_type: the content type of an answer that is no message.
    """

    method: str
    path: str
    summary: str
    asks: type | None = None
    answers: type | None = None
    chunk: type | None = None
    other_type: str = ""
    query: tuple[str, ...] = ()


OPERATIONS = (
    Operation(
        method="POST",
        path="/v1/chat/completions",
        summary="Answer a chat",
        asks=ChatRequest,
        answers=ChatCompletion,
        chunk=ChatChunk,
    ),
    Operation(
        method="POST",
        path="/v1/completions",
        summary="Continue a text",
        asks=CompletionRequest,
        answers=TextCompletion,
        chunk=TextCompletion,
    ),
    Operation(
        method="POST",
        path="/v1/responses",
        summary="Answer, in OpenAI's newer dialect",
        asks=ResponsesRequest,
        answers=Response,
        chunk=dict,
    ),
    Operation(
        method="POST",
        path="/v1/embeddings",
        summary="One vector for each text",
        asks=EmbeddingsRequest,
        answers=EmbeddingList,
    ),
    Operation(
        method="POST",
        path="/v1/rerank",
        summary="Documents by their relevance to a query",
        asks=RerankRequest,
        answers=RerankList,
    ),
    Operation(
        method="POST",
        path="/v1/classify",
        summary="Each text's class",
        asks=ClassifyRequest,
        answers=ClassifyList,
    ),
    Operation(
        method="GET",
        path="/v2",
        summary="The Open Inference Protocol: this server",
        answers=ServerMetadata,
    ),
    Operation(method="GET", path="/v2/health/live", summary="The process lives", other_type="text/plain"),
    Operation(
        method="GET",
        path="/v2/health/ready",
        summary="Whether requests are answered",
        other_type="text/plain",
    ),
    *(
        operation
        for model in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}")
        for operation in (
            Operation(method="GET", path=model, summary="A model's tensors", answers=ModelMetadata),
            Operation(
                method="GET", path=f"{model}/ready", summary="Whether it answers", other_type="text/plain"
            ),
            Operation(
                method="POST",
                path=f"{model}/infer",
                summary="Tensors through an ONNX model",
                asks=InferRequest,
                answers=InferAnswer,
            ),
        )
    ),
    Operation(method="GET", path="/v1/models", summary="What answers now", answers=ModelList),
    Operation(method="GET", path="/v1/models/{id}", summary="One of the models", answers=ModelCard),
    Operation(
        method="GET",
        path="/v1/chunks/have",
        summary="Which chunks of a release are here",
        other_type="application/octet-stream",
        query=("manifest",),
    ),
    Operation(
        method="GET",
        path="/v1/chunks/{sha256}",
        summary="One chunk",
        other_type="application/octet-stream",
    ),
    Operation(method="GET", path="/healthz", summary="The process lives", other_type="text/plain"),
    Operation(method="GET", path="/readyz", summary="Whether requests are answered", answers=Readiness),
    Operation(method="GET", path="/metrics", summary="Prometheus", other_type="text/plain"),
    Operation(method="GET", path="/openapi.json", summary="This document", other_type="application/json"),
)


def openapi_document(software: str) -> dict[str, Any]:
    """The document; `software` is the version of this node's software."""
    kinds = [
        kind for each in OPERATIONS for kind in (each.asks, each.answers, each.chunk) if kind is not None
    ]
    places, components = msgspec.json.schema_components(
        [*kinds, ErrorBody], ref_template="#/components/schemas/{name}"
    )
    place_by_kind = dict(zip([*kinds, ErrorBody], places, strict=True))
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation, place_by_kind)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Edgeward node",
            "version": software,
            "description": "OpenAI's API, answered at the edge. Unknown fields are refused.",
        },
        "paths": paths,
        "components": {"schemas": components},
    }


def _operation(operation: Operation, places: dict[type, Any]) -> dict[str, Any]:
    error = {"content": {"application/json": {"schema": places[ErrorBody]}}, "description": "an error"}
    told: dict[str, Any] = {
        "summary": operation.summary,
        "responses": {
            "200": {"description": "an answer", "content": _content(operation, places)},
            **{str(status): error for status in _REFUSED[operation.method]},
        },
    }
    names = [name for name in ("id", "sha256", "name", "version") if "{" + name + "}" in operation.path]
    told["parameters"] = [_parameter(name, "path") for name in names]
    told["parameters"] += [_parameter(name, "query") for name in operation.query]
    if operation.asks is not None:
        told["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": places[operation.asks]}},
        }
    if operation.path == "/v1/chunks/have":
        told["responses"]["204"] = {"description": "none of them"}
    if operation.path == "/readyz":
        told["responses"]["503"] = {"description": "not ready", "content": _content(operation, places)}
    return told


def _content(operation: Operation, places: dict[type, Any]) -> dict[str, Any]:
    if operation.answers is None:
        return {operation.other_type: {}}
    content: dict[str, Any] = {"application/json": {"schema": places[operation.answers]}}
    if operation.chunk is not None:
        content[SSE_TYPE] = {
            "schema": {"type": "string", "description": "events, each with one chunk as data"}
        }
        content[FRAMES_TYPE] = {"schema": places[operation.chunk]}
    return content


def _parameter(name: str, where: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": True, "schema": {"type": "string", "minLength": 1}}
