"""`POST /v1/completions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.api.refusals import check_completion
from edge_node.api.requests import CompletionRequest
from edge_node.api.shapes import TextShape
from edge_node.web.commands import completion_command
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
    command = completion_command(asked, account.answer_id)
    return await deliver(
        request, asked, "completion", command, lambda head, count: TextShape(head, count=count)
    )
