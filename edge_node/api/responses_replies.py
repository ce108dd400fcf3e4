"""What a node answers to `/v1/responses`, in the exact shape of OpenAI."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from edge_node.api.replies import ChosenLogprob, PromptTokensDetails

Status = Literal["in_progress", "completed", "incomplete"]


class OutputText(Struct, frozen=True, kw_only=True, tag="output_text", tag_field="type"):
    """The text of a message."""

    text: str
    annotations: tuple[()] = ()
    logprobs: tuple[ChosenLogprob, ...] = ()


class OutputMessage(Struct, frozen=True, kw_only=True, tag="message", tag_field="type"):
    """What the assistant says."""

    id: str
    role: Literal["assistant"] = "assistant"
    status: Status
    content: tuple[OutputText, ...]


class OutputCall(Struct, frozen=True, kw_only=True, tag="function_call", tag_field="type"):
    """A call that the assistant makes; `arguments` is JSON text."""

    id: str
    call_id: str
    name: str
    arguments: str
    status: Status


Output = OutputMessage | OutputCall


class OutputTokensDetails(Struct, frozen=True, kw_only=True):
    """No tokens are hidden from who asks."""

    reasoning_tokens: int = 0


class ResponsesUsage(Struct, frozen=True, kw_only=True):
    """Tokens of one generation."""

    input_tokens: int
    input_tokens_details: PromptTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails = OutputTokensDetails()
    total_tokens: int


class IncompleteDetails(Struct, frozen=True, kw_only=True):
    """Why the answer ended early."""

    reason: Literal["max_output_tokens"] = "max_output_tokens"


class Response(Struct, frozen=True, kw_only=True):
    """An answer; what was asked is said again in it."""

    id: str
    object: Literal["response"] = "response"
    created_at: int
    completed_at: int | None = None
    status: Status
    error: None = None
    incomplete_details: IncompleteDetails | None = None
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str]
    model: str
    output: tuple[Output, ...]
    parallel_tool_calls: bool
    previous_response_id: None = None
    store: Literal[False] = False
    temperature: float
    text: Any
    tool_choice: Any
    tools: Any
    top_logprobs: int
    top_p: float
    truncation: Literal["disabled"] = "disabled"
    usage: ResponsesUsage | None = None
