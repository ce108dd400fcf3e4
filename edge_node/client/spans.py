"""Spans of a client's calls, where the program that makes them uses OpenTelemetry; origin and nodes join the trace."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from registry.errors import EdgewardError
from registry.trace_context import tracing_api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from edge_node.client.answers import Served, Usage

_OPERATIONS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
}


class CallSpan:
    """One call, from the question to the end of its answer, in the words of the conventions for generative AI.

    No prompt, no answer and no key is in it.

    Args:
        path: what is called.
    """

    def __init__(self, path: str) -> None:
        self._operation = _OPERATIONS.get(path, path.rpartition("/")[2])
        self._api: Any = None
        self._span: Any = None

    def current(self, model: str) -> AbstractContextManager[Any]:
        """Within this, what is sent belongs to the span, which begins with the first time."""
        if self._api is None:
            self._api = tracing_api()
            if self._api is None:
                return nullcontext()
            self._span = self._begun(model)
        if self._span is None:
            return nullcontext()
        within: AbstractContextManager[Any] = self._api.use_span(
            self._span, record_exception=False, set_status_on_exception=False
        )
        return within

    def _begun(self, model: str) -> Any:
        return self._api.get_tracer("edgeward").start_span(
            f"{self._operation} {model}",
            kind=self._api.SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": self._operation,
                "gen_ai.provider.name": "edgeward",
                "gen_ai.request.model": model,
            },
        )

    def answered(self, served: Served, model: str, usage: Usage | None) -> None:
        """Say who answered."""
        if self._span is None:
            return
        said = {
            "gen_ai.response.model": model,
            "edgeward.node_id": served.node_id,
            "edgeward.attempts": served.attempts,
            "edgeward.ttft_ms": served.ttft_ms,
        }
        if usage is not None:
            said["gen_ai.usage.input_tokens"] = usage.prompt_tokens
            said["gen_ai.usage.output_tokens"] = usage.completion_tokens
        self._span.set_attributes(said)

    def failed(self, error: BaseException) -> None:
        """Say why there is no answer, or no whole one."""
        if self._span is None:
            return
        code = error.code if isinstance(error, EdgewardError) else type(error).__name__
        self._span.set_attribute("error.type", code)
        self._span.set_status(self._api.StatusCode.ERROR)

    def end(self) -> None:
        """It is over; a second time changes nothing."""
        span, self._span = self._span, None
        if span is not None:
            span.end()


@contextmanager
def traced(path: str, model: str) -> Iterator[CallSpan]:
    """A call that is over when the block is."""
    span = CallSpan(path)
    try:
        with span.current(model):
            yield span
    except BaseException as error:
        span.failed(error)
        raise
    finally:
        span.end()
