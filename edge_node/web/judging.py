"""`POST /v1/rerank` and `POST /v1/classify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.api.judging import (
    ClassifyRequest,
    RerankRequest,
    check_classify,
    check_rerank,
    classify_list,
    rerank_list,
)
from edge_node.engines import Score, Scored
from edge_node.web.parts import COMPUTING, exchange_of
from edge_node.web.payload import read_message, respond

if TYPE_CHECKING:
    from aiohttp import web


async def rerank(request: web.Request) -> web.Response:
    """Documents by their relevance to a query."""
    asked = await read_message(request, RerankRequest)
    texts = check_rerank(asked)
    account = exchange_of(request).account
    account.answer_id = f"rerank-{account.answer_id}"
    command = Score(request_id="", texts=texts, query=asked.query, cut_tokens=asked.max_tokens_per_doc or 0)
    told = await request.app[COMPUTING].compute(account, asked.model, "rerank", lambda _: command)
    scored = told.computed
    assert isinstance(scored, Scored), "only this answers a score"
    answer = rerank_list(
        scored.values,
        asked,
        texts,
        answer_id=account.answer_id,
        model=account.release,
        prompt_tokens=scored.prompt_tokens,
    )
    return respond(request, answer, headers={"x-edgeward-release": account.release})


async def classify(request: web.Request) -> web.Response:
    """Each text's class."""
    asked = await read_message(request, ClassifyRequest)
    texts = check_classify(asked)
    account = exchange_of(request).account
    account.answer_id = f"classify-{account.answer_id}"
    command = Score(request_id="", texts=texts)
    told = await request.app[COMPUTING].compute(account, asked.model, "classification", lambda _: command)
    scored = told.computed
    assert isinstance(scored, Scored), "only this answers a score"
    answer = classify_list(
        scored.values,
        told.ready.labels,
        answer_id=account.answer_id,
        created_unix_s=told.created_unix_s,
        model=account.release,
        prompt_tokens=scored.prompt_tokens,
    )
    return respond(request, answer, headers={"x-edgeward-release": account.release})
