"""`POST /v1/chat/completions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.api.chat_shape import ChatShape
from edge_node.api.refusals import check_chat
from edge_node.api.requests import ChatRequest
from edge_node.web.commands import chat_work, tools_told
from edge_node.web.generation import deliver
from edge_node.web.parts import exchange_of
from edge_node.web.payload import read_message

if TYPE_CHECKING:
    from aiohttp import web


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """Answer a chat, whole or streamed."""
    asked = await read_message(request, ChatRequest)
    check_chat(asked)
    account = exchange_of(request).account
    account.answer_id = f"chatcmpl-{account.answer_id}"
    work = chat_work(asked, account.answer_id)
    counted = bool(asked.stream_options and asked.stream_options.include_usage)
    choice = asked.tool_choice
    return await deliver(
        request,
        model=asked.model,
        ability="chat",
        work=work,
        streams=bool(asked.stream),
        dialect=lambda heading: ChatShape(
            heading,
            count=counted,
            calls=bool(tools_told(asked)),
            named=choice is not None and not isinstance(choice, str),
            scored=bool(asked.logprobs),
        ),
    )
