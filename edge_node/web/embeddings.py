"""`POST /v1/embeddings`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.api.refusals import check_embeddings
from edge_node.api.replies import embedding_list
from edge_node.api.requests import EmbeddingsRequest
from edge_node.web.parts import ANSWERING, exchange_of
from edge_node.web.payload import read_message, respond

if TYPE_CHECKING:
    from aiohttp import web


async def embeddings(request: web.Request) -> web.Response:
    """One vector for each text."""
    asked = await read_message(request, EmbeddingsRequest)
    check_embeddings(asked)
    account = exchange_of(request).account
    account.answer_id = f"embd-{account.answer_id}"
    inputs = (asked.input,) if isinstance(asked.input, str) else tuple(map(str, asked.input))
    embedded = await request.app[ANSWERING].embed(
        account,
        asked.model,
        inputs,
        dimensions=asked.dimensions,
        cut_tokens=asked.truncate_prompt_tokens or 0,
    )
    answer = embedding_list(
        embedded.vectors,
        dims=embedded.dims,
        model=account.release,
        prompt_tokens=embedded.prompt_tokens,
        packed=asked.encoding_format == "base64",
    )
    return respond(request, answer, headers={"x-edgeward-release": account.release})
