"""What one worker thread does at a time: a batch of rows or of tensors, from one request or from several."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_node.engines import Inferred, Refused
from edge_node.engines.onnx.tensor_batches import answer_tensors, joined, taken_apart
from edge_node.errors import EngineFailedError
from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from numpy.typing import NDArray

    from edge_node.engines import Event
    from edge_node.engines.onnx.invariance import LiveTrials
    from edge_node.engines.onnx.runtime import Session
    from edge_node.engines.onnx.text_model import TextModel
    from edge_node.engines.onnx.work import TensorWork, TextWork, Work

_FAILED = EngineFailedError.code


@dataclass(slots=True, eq=False)
class TextRun:
    """Rows of one or several requests through a text model."""

    model: TextModel
    parts: Sequence[tuple[TextWork, int]]
    values: Any = None
    error: str = ""
    run_s: float = 0.0

    def compute(self) -> None:
        """Compute the batch; in a worker thread."""
        started_s = time.monotonic()
        try:
            self.values = self.model.compute([work.rows[index] for work, index in self.parts])
        except EngineFailedError as error:
            self.error = error.message
        self.run_s = time.monotonic() - started_s

    def finish(self, again: list[Work]) -> list[Event]:
        """Hand the numbers out; the answers that are whole by now. Who must be computed alone goes into `again`."""
        works = list(dict.fromkeys(work for work, _ in self.parts if not work.gone))
        if self.error:
            return self._failed(works, again)
        tokens_count = sum(len(work.rows[index]) for work, index in self.parts)
        for place, (work, index) in enumerate(self.parts):
            work.values[index] = self.values[place]
            work.missing_count -= 1
            work.compute_s += self.run_s * len(work.rows[index]) / tokens_count
        now_s = time.monotonic()
        return [work.answer(now_s) for work in works if work.missing_count == 0]

    def _failed(self, works: list[TextWork], again: list[Work]) -> list[Event]:
        if len(works) == 1:
            works[0].gone = True
            return [Refused(request_id=works[0].request_id, code=_FAILED, message=self.error)]
        # One of them may be at fault: each is computed again, by itself.
        for work, index in self.parts:
            if not work.gone and work.waiting is not None:
                work.waiting.put_back(index, len(work.rows[index]))
                work.lonely = True
        again += works
        return []


@dataclass(slots=True, eq=False)
class TensorRun:
    """Requests of one form through a model of any tensors.

    Attributes:
        trials: where the model is not known to allow batches: computed alone and together, and compared.
    """

    session: Session
    works: Sequence[TensorWork]
    trials: LiveTrials | None = None
    values: list[list[NDArray[Any]]] = field(default_factory=list)
    error: str = ""
    run_s: float = 0.0

    def compute(self) -> None:
        """Compute the batch; in a worker thread."""
        started_s = time.monotonic()
        requests = [work.request for work in self.works]
        outputs = requests[0].outputs
        try:
            if len(requests) == 1 or self.trials is not None:
                self.values = [self.session.run(request.feeds, outputs) for request in requests]
            else:
                parts = taken_apart(self.session.run(joined(requests), outputs), requests)
                self.values = parts or []
                self.error = (
                    "" if parts else "the outputs of a batch have not a row for each row of the inputs"
                )
        except EngineFailedError as error:
            self.error = error.message
        self.run_s = time.monotonic() - started_s
        if self.trials is not None and not self.error and len(requests) > 1:
            self._try_together(self.trials)

    def finish(self, again: list[Work]) -> list[Event]:
        """The answers; who must be computed alone goes into `again`."""
        works = [work for work in self.works if not work.gone]
        if self.error:
            if len(works) == 1:
                works[0].gone = True
                return [Refused(request_id=works[0].request_id, code=_FAILED, message=self.error)]
            for work in works:
                work.lonely = True
            again += works
            return []
        events: list[Event] = []
        now_s = time.monotonic()
        for work, values in zip(self.works, self.values, strict=True):
            if not work.gone:
                events.append(self._answer(work, values, now_s))
        return events

    def _answer(self, work: TensorWork, values: list[NDArray[Any]], now_s: float) -> Event:
        work.gone = True
        try:
            outputs = answer_tensors(self.session, work.request.outputs, values)
        except EdgewardError as error:
            return Refused(
                request_id=work.request_id, code=error.code, message=error.message, param=error.param
            )
        return Inferred(
            request_id=work.request_id,
            outputs=outputs,
            service_s=now_s - work.arrived_s,
            compute_s=self.run_s / len(self.works),
        )

    def _try_together(self, trials: LiveTrials) -> None:
        requests = [work.request for work in self.works]
        try:
            parts = taken_apart(self.session.run(joined(requests), requests[0].outputs), requests)
        except EngineFailedError:
            parts = None
        for place, alone in enumerate(self.values):
            trials.note(alone, parts[place] if parts is not None else None)
