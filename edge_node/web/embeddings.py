"""`POST /v1/embeddings`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.api.refusals import check_embeddings
from edge_node.api.replies import embedding_list
from edge_node.api.requests import EmbeddingsRequest
from edge_node.computing import checked_dims
from edge_node.engines import Embed, Embedded
from edge_node.web.parts import COMPUTING, exchange_of
from edge_node.web.payload import read_message, respond

if TYPE_CHECKING:
    from aiohttp import web

    from edge_node.residents import Lease


SPACE_HEADER = "x-edgeward-space"


async def embeddings(request: web.Request) -> web.Response:
    """One vector for each text."""
    asked = await read_message(request, EmbeddingsRequest)
    check_embeddings(asked)
    account = exchange_of(request).account
    account.answer_id = f"embd-{account.answer_id}"
    inputs = (asked.input,) if isinstance(asked.input, str) else tuple(map(str, asked.input))

    def command(lease: Lease) -> Embed:
        dims = checked_dims(lease.name, lease.ready, asked.dimensions)
        return Embed(request_id="", inputs=inputs, dims=dims, cut_tokens=asked.truncate_prompt_tokens or 0)

    told = await request.app[COMPUTING].compute(account, asked.model, "embedding", command)
    embedded = told.computed
    assert isinstance(embedded, Embedded), "only this answers texts to embed"
    answer = embedding_list(
        embedded.vectors,
        dims=embedded.dims,
        model=account.release,
        prompt_tokens=embedded.prompt_tokens,
        packed=asked.encoding_format == "base64",
        space_id=told.space_id,
    )
    headers = {"x-edgeward-release": account.release} | (
        {SPACE_HEADER: told.space_id} if told.space_id else {}
    )
    return respond(request, answer, headers=headers)
