"""The ONNX engine: text embeddings by ONNX Runtime, a batch of one request's texts a step."""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Since 1.29 the Linux wheels report usage unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

from edge_node.engines import Embed, Embedded, Finished, Ready, Refused
from edge_node.engines.text_encoding import open_text_setup
from edge_node.engines.vectors import pad, plan_batches, pool
from edge_node.errors import EngineFailedError, RequestInvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_node.engines import EngineSpec, Event, Request
    from edge_node.engines.text_encoding import TextSetup
    from edge_node.engines.vectors import Floats

_ROWS_COUNT = 32
# Attention needs memory for the square of a text's length: few long texts at once, many short ones.
_BATCH_TOKENS = 4096
_KNOWN_INPUTS = {"input_ids", "attention_mask", "token_type_ids"}
_ERRORS = (
    native.EPFail, native.Fail, native.InvalidArgument, native.InvalidGraph, native.InvalidProtobuf,
    native.NoModel, native.NoSuchFile, native.NotImplemented, native.RuntimeException,
)  # fmt: skip


@dataclass(slots=True)
class _Work:
    """One request: its texts as ids, the batches still to compute, and the vectors so far."""

    request_id: str
    rows: list[list[int]]
    batches: deque[list[int]]
    vectors: Floats
    service_s: float = 0.0


class OnnxEngine:
    """One embedding model. Requests take turns by the batch, so that a large one does not hold up a small one.

    Texts of different requests are never computed together: with dynamically quantized activations the neighbours
    in a batch can change a result.
    """

    def __init__(self, spec: EngineSpec, session: Any, setup: TextSetup) -> None:
        self._spec = spec
        self._session = session
        self._setup = setup
        self._input_types = _input_types(session)
        self._output, self._dims = _output(session)
        self._turns: deque[_Work] = deque()
        self._unsaid: list[Event] = []

    @classmethod
    def load(cls, spec: EngineSpec) -> OnnxEngine:
        """Load the release's ONNX file and its tokenizer.

        Raises:
            EngineFailedError: either cannot be loaded, or the model is no text embedder.
        """
        path = onnx_path(spec)
        setup = open_text_setup(path.parent, spec)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = spec.threads_count
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin between two runs take the cores of the other engines.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except _ERRORS as error:
            raise EngineFailedError(f"ONNX Runtime cannot load {path.name}: {error}") from error
        engine = cls(spec, session, setup)
        engine.probe()
        return engine

    def probe(self) -> None:
        """Compute one text: a model that cannot is found out before it takes requests, and its width is known.

        Raises:
            EngineFailedError: the model does not run.
        """
        try:
            self._dims = self._compute(self._setup.encoder.encode(["a"])).shape[1]
        except _ERRORS as error:
            raise EngineFailedError(f"the ONNX model loads and does not run: {error}") from error

    def ready(self) -> Ready:
        """What it can do."""
        return Ready(
            abilities=("embedding",),
            slots=1,
            context_tokens=self._setup.encoder.limit_tokens,
            load_s=0.0,
            fingerprint=f"onnx-{onnxruntime.__version__}-t{self._spec.threads_count}",
            embedding_dims=self._dims,
        )

    @property
    def busy(self) -> bool:
        """There is work, or something to say."""
        return bool(self._turns or self._unsaid)

    def submit(self, request: Request) -> None:
        """Take an embedding on.

        Raises:
            PromptTooLongError: an input is longer than the model reads; `param` names it.
            RequestInvalidError: not an embedding, or nothing to embed.
        """
        if not isinstance(request, Embed):
            raise RequestInvalidError("this model embeds text, it does not make any", param="model")
        if not request.inputs:
            raise RequestInvalidError("there is nothing to embed", param="input")
        started_s = time.monotonic()
        rows = self._setup.encoder.encode(request.inputs)
        batches = plan_batches([len(row) for row in rows], rows_count=_ROWS_COUNT, batch_tokens=_BATCH_TOKENS)
        work = _Work(request.request_id, rows, deque(batches), np.zeros((len(rows), self._dims), np.float32))
        work.service_s = time.monotonic() - started_s
        self._turns.append(work)

    def cancel(self, request_id: str) -> None:
        """End a request between two of its batches."""
        for work in [work for work in self._turns if work.request_id == request_id]:
            self._turns.remove(work)
            self._unsaid.append(
                Finished(request_id=request_id, reason="cancelled", completion_tokens=0, decode_s=0.0)
            )

    def step(self) -> Sequence[Event]:
        """Compute one batch of the request whose turn it is."""
        said, self._unsaid = self._unsaid, []
        if not self._turns:
            return said
        work = self._turns.popleft()
        started_s = time.monotonic()
        batch = work.batches.popleft()
        try:
            work.vectors[batch] = self._compute([work.rows[index] for index in batch])
        except _ERRORS as error:
            said.append(Refused(request_id=work.request_id, code=EngineFailedError.code, message=str(error)))
            return said
        work.service_s += time.monotonic() - started_s
        if work.batches:
            self._turns.append(work)
        else:
            said.append(self._embedded(work))
        return said

    def _compute(self, rows: Sequence[Sequence[int]]) -> Floats:
        ids, mask = pad(rows)
        feeds: dict[str, NDArray[Any]] = {"input_ids": ids, "attention_mask": mask}
        feeds["token_type_ids"] = np.zeros_like(ids)
        (output,) = self._session.run(
            [self._output], {name: feeds[name].astype(kind) for name, kind in self._input_types.items()}
        )
        return pool(output, mask, self._setup.pooling)

    def _embedded(self, work: _Work) -> Embedded:
        return Embedded(
            request_id=work.request_id,
            vectors=work.vectors.astype("<f4", copy=False).tobytes(),
            dims=self._dims,
            prompt_tokens=sum(len(row) for row in work.rows),
            service_s=work.service_s,
        )


def onnx_path(spec: EngineSpec) -> Path:
    """The ONNX file to open: the only one, or the one named `model.onnx`.

    Raises:
        EngineFailedError: there is none, or it is not clear which.
    """
    names = [name for name in spec.files if name.lower().endswith(".onnx")]
    chosen = names if len(names) == 1 else [name for name in names if Path(name).name == "model.onnx"]
    if len(chosen) != 1:
        raise EngineFailedError(
            f"the release has {len(names)} .onnx files, which the ONNX engine cannot choose from; "
            "name the right one model.onnx"
        )
    return Path(spec.model_dir, chosen[0])


def _input_types(session: Any) -> dict[str, str]:
    declared = {entry.name: "int32" if "int32" in entry.type else "int64" for entry in session.get_inputs()}
    unknown = sorted(set(declared) - _KNOWN_INPUTS)
    if unknown or "input_ids" not in declared:
        raise EngineFailedError(
            f"the ONNX model is no text embedder: it takes {', '.join(declared) or 'nothing'}, "
            f"this engine gives {', '.join(sorted(_KNOWN_INPUTS))}"
        )
    return declared


def _output(session: Any) -> tuple[str, int]:
    """The output to read, and its width where the model declares it; token vectors before pooled ones."""
    for rank in (3, 2):
        for entry in session.get_outputs():
            if len(entry.shape) == rank and "float" in entry.type and entry.name != "logits":
                width = entry.shape[-1]
                return entry.name, width if isinstance(width, int) else 0
    shapes = ", ".join(f"{entry.name} {entry.shape}" for entry in session.get_outputs())
    raise EngineFailedError(f"the ONNX model gives neither token vectors nor text vectors, but {shapes}")
