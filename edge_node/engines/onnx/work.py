"""A request at work in the ONNX engine: what is known of it, what is still to compute, and its answer at the end."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edge_node.engines import Embed, Embedded, Scored
from edge_node.engines.onnx.batching import Waiting
from edge_node.engines.vectors import cut_vectors

if TYPE_CHECKING:
    from edge_node.engines import Infer, Score
    from edge_node.engines.onnx.tensor_batches import TensorRequest
    from edge_node.engines.text_encoding import Row, TextEncoder
    from edge_node.engines.vectors import Floats


@dataclass(slots=True, eq=False)
class TextWork:
    """Texts on their way to vectors or scores.

    Attributes:
        arrived_s: when it was submitted, by a monotonic clock.
        waiting: rows that are in no batch yet; None until all texts are tokenized.
        missing_count: rows whose numbers are not there yet.
        lonely: its rows share no batch with others' any more, since one such failed.
    """

    command: Embed | Score
    arrived_s: float
    width: int
    unread: deque[str] = field(default_factory=deque)
    rows: list[Row] = field(default_factory=list)
    waiting: Waiting | None = None
    values: Floats = field(init=False)
    missing_count: int = 0
    compute_s: float = 0.0
    lonely: bool = False
    gone: bool = False

    def __post_init__(self) -> None:
        texts = self.command.inputs if isinstance(self.command, Embed) else self.command.texts
        self.unread.extend(texts)
        self.missing_count = len(texts)
        self.values = np.zeros((len(texts), self.width), np.float32)

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self.command.request_id

    def check_lengths(self, encoder: TextEncoder) -> None:
        """Refuse texts that are too long to be tokenized. Raises PromptTooLongError."""
        cut_before = isinstance(self.command, Embed) and self.command.cut_tokens != 0
        if not isinstance(self.command, Embed):
            if self.command.query is not None:
                encoder.check_length(self.command.query, "query")
            cut_before = self.command.cut_tokens > 0
        if not cut_before:
            for index, text in enumerate(self.unread):
                encoder.check_length(text, self._param(index))

    def read_next(self, encoder: TextEncoder) -> int:
        """Tokenize the next text; returns its length in characters. Raises PromptTooLongError."""
        text = self.unread.popleft()
        param = self._param(len(self.rows))
        command = self.command
        if isinstance(command, Embed) or command.query is None:
            row = encoder.text(text, param, cut_tokens=command.cut_tokens)
        else:
            row = encoder.pair(command.query, text, param, cut_tokens=command.cut_tokens)
        self.rows.append(row)
        if not self.unread:
            self.waiting = Waiting([len(row) for row in self.rows])
        return len(text)

    def answer(self, now_s: float) -> Embedded | Scored:
        """What is said when no row is missing."""
        tokens_count = sum(len(row) for row in self.rows)
        values = self.values
        if isinstance(self.command, Embed):
            if self.command.dims:
                values = cut_vectors(values, self.command.dims)
            return Embedded(
                request_id=self.request_id,
                vectors=values.astype("<f4", copy=False).tobytes(),
                dims=values.shape[1],
                prompt_tokens=tokens_count,
                service_s=now_s - self.arrived_s,
                compute_s=self.compute_s,
            )
        return Scored(
            request_id=self.request_id,
            values=values.astype("<f4", copy=False).tobytes(),
            width=self.width,
            prompt_tokens=tokens_count,
            service_s=now_s - self.arrived_s,
            compute_s=self.compute_s,
        )

    def _param(self, index: int) -> str:
        paired = not isinstance(self.command, Embed) and self.command.query is not None
        return f"documents[{index}]" if paired else f"input[{index}]"


@dataclass(slots=True, eq=False)
class TensorWork:
    """Tensors on their way through the model; the attributes are those of `TextWork`."""

    command: Infer
    request: TensorRequest
    arrived_s: float
    lonely: bool = False
    gone: bool = False

    @property
    def request_id(self) -> str:
        """The request's id."""
        return self.command.request_id


Work = TextWork | TensorWork
