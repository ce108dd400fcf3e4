"""`POST /v1/chat/completions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.api.refusals import check_chat
from edge_node.api.requests import ChatRequest
from edge_node.api.shapes import ChatShape
from edge_node.web.commands import chat_command
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
    command = chat_command(asked, account.answer_id)
    return await deliver(request, asked, "chat", command, lambda head, count: ChatShape(head, count=count))
