"""The ONNX engine: requests are taken on between batches, and computed together where no answer changes by it."""

from __future__ import annotations

import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING

from edge_node.engines import Embed, Finished, Generate, Infer, Ready, Refused
from edge_node.engines.onnx.batching import take_batch
from edge_node.engines.onnx.invariance import TOLERANCE, LiveTrials, text_deviation
from edge_node.engines.onnx.runs import TensorRun, TextRun
from edge_node.engines.onnx.runtime import VERSION, open_session
from edge_node.engines.onnx.tensor_batches import BATCH_LIMIT_BYTES, ROWS_LIMIT_COUNT, check_tensors, may_join
from edge_node.engines.onnx.text_model import onnx_path, open_text_model
from edge_node.engines.onnx.work import TensorWork, TextWork
from edge_node.errors import RequestInvalidError
from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from edge_node.engines import Event, Request, Score
    from edge_node.engines.onnx.runtime import Session
    from edge_node.engines.onnx.text_model import TextModel
    from edge_node.engines.onnx.work import Work
    from edge_node.engines.spec import EngineSpec

_ROWS_COUNT = 32
# As quick in one batch as in two side by side.
_ROWS_TO_SPLIT_COUNT = 8
# Beyond some hundred tokens a larger batch is no faster, and only makes the next one wait.
_BATCH_TOKENS = 1024
# Tokenized between two batches: about 20 ms of it.
_READ_CHARACTERS = 32 << 10
_ONLY = {
    "embedding": "this model embeds text, it does not judge any",
    "rerank": "this model judges pairs of a query and a document, it does nothing else",
    "classification": "this model classifies texts, it does nothing else",
}


class OnnxEngine:
    """One ONNX model. Batches are formed of what waits, without delay, and one runs on each of the threads.

    An answer depends on its own request alone: rows of several requests share a batch only if the model was seen to
    give each row the same numbers in any company (`invariance`), or if the node is told to do so all the same.
    """

    def __init__(self, spec: EngineSpec, session: Session, text: TextModel | None) -> None:
        self._spec = spec
        self._session = session
        self._text = text
        self.deviation = text_deviation(text) if text is not None else 0.0
        invariant = text is not None and self.deviation <= TOLERANCE
        self._shares = {"exact": invariant, "fast": True, "off": False}[spec.batching]
        self._may_join = may_join(session) and spec.batching != "off"
        self._trials = LiveTrials()
        self._unread: deque[TextWork] = deque()
        self._turns: deque[Work] = deque()
        self._runs: dict[Future[None], TextRun | TensorRun] = {}
        self._unsaid: list[Event] = []
        self._threads = ThreadPoolExecutor(spec.threads_count, thread_name_prefix="onnx")

    @classmethod
    def load(cls, spec: EngineSpec) -> OnnxEngine:
        """Load the release's ONNX file, and its tokenizer if it is a text model.

        Raises:
            EngineFailedError: either cannot be loaded, or the model does not run.
        """
        path = onnx_path(spec)
        session = open_session(path, spec)
        return cls(spec, session, open_text_model(session, path, spec))

    def ready(self) -> Ready:
        """What it can do."""
        text = self._text
        batches = self._shares if text is not None else self._may_join
        providers = "+".join(
            name.removesuffix("ExecutionProvider").lower() for name in self._session.providers
        )
        return Ready(
            abilities=("tensors",) if text is None else (text.ability, "tensors"),
            slots=_ROWS_COUNT if batches else self._spec.threads_count,
            context_tokens=0 if text is None else text.setup.encoder.limit_tokens,
            load_s=0.0,
            fingerprint=f"onnx-{VERSION}-{providers}-t{self._spec.threads_count}-{self._spec.batching}",
            embedding_dims=text.width if text is not None and text.ability == "embedding" else 0,
            shorter_dims=() if text is None else tuple(d for d in text.setup.shorter_dims if d < text.width),
            any_shorter_dims=text is not None and text.setup.any_shorter_dims,
            labels=() if text is None else text.labels(),
            inputs=self._session.inputs,
            outputs=self._session.outputs,
            batches=batches,
        )

    @property
    def busy(self) -> bool:
        """There is work, or something to say."""
        return bool(self._turns or self._unread or self._runs or self._unsaid)

    def submit(self, request: Request) -> None:
        """Take a request on.

        Raises:
            PromptTooLongError: an input is far longer than the model reads; `param` names it.
            RequestInvalidError: not something that this model does, or nothing to do.
        """
        if isinstance(request, Generate):
            raise RequestInvalidError("this model embeds or judges, it does not make any text", param="model")
        now_s = time.monotonic()
        if isinstance(request, Infer):
            self._turns.append(TensorWork(request, check_tensors(self._session, request), now_s))
            return
        text = self._text_model(request)
        work = TextWork(request, now_s, text.width)
        if not work.missing_count:
            raise RequestInvalidError("there is no text", param="input")
        work.check_lengths(text.setup.encoder)
        self._unread.append(work)

    def cancel(self, request_id: str) -> None:
        """End a request; a batch that it is in goes on for the others."""
        running = [work for run in self._runs.values() for work in _works(run)]
        found = [
            work
            for work in (*self._unread, *self._turns, *running)
            if work.request_id == request_id and not work.gone
        ]
        for work in dict.fromkeys(found):
            work.gone = True
            self._unsaid.append(
                Finished(request_id=request_id, reason="cancelled", completion_tokens=0, decode_s=0.0)
            )
        self._unread = deque(work for work in self._unread if not work.gone)
        self._turns = deque(work for work in self._turns if not work.gone)

    def step(self) -> Sequence[Event]:
        """Tokenize for a moment, start what can be started, and wait for the first batch to end."""
        said, self._unsaid = self._unsaid, []
        self._read(said)
        while len(self._runs) < self._spec.threads_count and (run := self._next_run()) is not None:
            self._runs[self._threads.submit(run.compute)] = run
        if self._runs:
            # With texts still to tokenize, look only whether one has ended.
            done, _ = wait(self._runs, timeout=0 if self._unread else None, return_when=FIRST_COMPLETED)
            for future in done:
                self._end(future, said)
        return said

    def _text_model(self, request: Embed | Score) -> TextModel:
        ability = self._text.ability if self._text is not None else None
        if self._text is None or ability is None:
            raise RequestInvalidError("this model reads tensors, not text", param="model")
        wanted = (
            "embedding"
            if isinstance(request, Embed)
            else "classification"
            if request.query is None
            else "rerank"
        )
        if ability != wanted:
            raise RequestInvalidError(_ONLY[ability], param="model")
        return self._text

    def _read(self, said: list[Event]) -> None:
        left_characters = _READ_CHARACTERS
        while self._unread and left_characters > 0 and self._text is not None:
            work = self._unread[0]
            try:
                left_characters -= 1 + work.read_next(self._text.setup.encoder)
            except EdgewardError as error:
                self._unread.popleft()
                said.append(
                    Refused(
                        request_id=work.request_id, code=error.code, message=error.message, param=error.param
                    )
                )
                continue
            # One text of each request in turn, so that a large request does not hold up a small one.
            self._unread.popleft()
            (self._turns if work.waiting is not None else self._unread).append(work)

    def _next_run(self) -> TextRun | TensorRun | None:
        if not self._turns:
            return None
        first = self._turns[0]
        return self._text_run(first) if isinstance(first, TextWork) else self._tensor_run(first)

    def _text_run(self, first: TextWork) -> TextRun:
        assert self._text is not None, "only a text model takes texts"
        company: list[TextWork] = [first]
        if self._shares and not first.lonely:
            company += [
                work
                for work in self._turns
                if isinstance(work, TextWork) and work is not first and not work.lonely
            ]
        queue = [work.waiting for work in company if work.waiting is not None]
        waiting_count = sum(map(len, queue))
        free_count = self._spec.threads_count - len(self._runs)
        rows_count = min(_ROWS_COUNT, max(_ROWS_TO_SPLIT_COUNT, -(-waiting_count // free_count)))
        taken = take_batch(queue, rows_count=rows_count, batch_tokens=_BATCH_TOKENS)
        for work in {company[place] for place, _ in taken}:
            if not work.waiting:
                self._turns.remove(work)
        if self._turns and self._turns[0] is first:
            self._turns.rotate(-1)
        return TextRun(self._text, [(company[place], index) for place, index in taken])

    def _tensor_run(self, first: TensorWork) -> TensorRun:
        works = [first]
        joins = self._may_join and not first.lonely and first.request.rows_count > 0
        trusted = self._spec.batching == "fast" or self._trials.trusted
        if joins and not self._trials.refuted:
            rows_count, total_bytes = first.request.rows_count, first.request.input_bytes
            for work in self._turns:
                if not isinstance(work, TensorWork) or work is first or work.lonely:
                    continue
                rows_count += work.request.rows_count
                total_bytes += work.request.input_bytes
                if rows_count > ROWS_LIMIT_COUNT or total_bytes > BATCH_LIMIT_BYTES:
                    break
                if work.request.form == first.request.form and work.request.rows_count > 0:
                    works.append(work)
        for work in works:
            self._turns.remove(work)
        return TensorRun(self._session, works, None if trusted else self._trials)

    def _end(self, future: Future[None], said: list[Event]) -> None:
        run = self._runs.pop(future)
        future.result()  # a defect of ours ends the process, as in any thread
        again: list[Work] = []
        said += run.finish(again)
        self._turns.extendleft(work for work in again if work not in self._turns)
        self._turns = deque(work for work in self._turns if not work.gone)


def _works(run: TextRun | TensorRun) -> list[Work]:
    return [work for work, _ in run.parts] if isinstance(run, TextRun) else list(run.works)
