"""`POST /v1/completions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.api.refusals import check_completion, prompts_of
from edge_node.api.requests import CompletionRequest
from edge_node.api.shapes import TextShape
from edge_node.web.commands import completion_work
from edge_node.web.generation import deliver
from edge_node.web.parts import exchange_of
from edge_node.web.payload import read_message

if TYPE_CHECKING:
    from aiohttp import web


async def completions(request: web.Request) -> web.StreamResponse:
    """Continue a text, whole or streamed."""
    asked = await read_message(request, CompletionRequest)
    check_completion(asked)
    account = exchange_of(request).account
    account.answer_id = f"cmpl-{account.answer_id}"
    work = completion_work(asked, account.answer_id)
    counted = bool(asked.stream_options and asked.stream_options.include_usage)
    echoed = [prompt for prompt in prompts_of(asked) if isinstance(prompt, str) for _ in range(asked.n or 1)]
    return await deliver(
        request,
        model=asked.model,
        ability="completion",
        work=work,
        streams=bool(asked.stream),
        dialect=lambda heading: TextShape(
            heading,
            count=counted,
            echoed=echoed if asked.echo and work.cut is None else (),
            scored=asked.logprobs is not None,
        ),
    )
