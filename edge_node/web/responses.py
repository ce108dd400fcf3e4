"""`POST /v1/responses`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.api.responses_requests import ResponsesRequest, as_chat, own_path
from edge_node.api.responses_shape import ResponsesShape
from edge_node.errors import RequestInvalidError
from edge_node.web.commands import chat_work, tools_told
from edge_node.web.generation import deliver
from edge_node.web.parts import exchange_of
from edge_node.web.payload import read_message

if TYPE_CHECKING:
    from aiohttp import web


async def responses(request: web.Request) -> web.StreamResponse:
    """Answer in OpenAI's newer dialect, whole or streamed."""
    asked = await read_message(request, ResponsesRequest)
    chat = as_chat(asked)
    account = exchange_of(request).account
    account.answer_id = f"resp-{account.answer_id}"
    try:
        work = chat_work(chat, account.answer_id)
    except RequestInvalidError as error:
        raise RequestInvalidError(error.message, param=own_path(error.param)) from error
    return await deliver(
        request,
        model=asked.model,
        ability="chat",
        work=work,
        streams=bool(asked.stream),
        dialect=lambda heading: ResponsesShape(
            heading, asked, calls=bool(tools_told(chat)), scored=bool(chat.logprobs)
        ),
    )
