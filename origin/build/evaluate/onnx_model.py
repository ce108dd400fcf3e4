"""An ONNX encoder for measuring: its tokenizer, its session on the processor, and the vector of a text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Since 1.29 the Linux wheels report usage unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


class OnnxModel:
    """An open session; what ONNX Runtime raises comes through."""

    def __init__(self, path: Path, threads_count: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads_count
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self._inputs = [(entry.name, entry.type) for entry in self._session.get_inputs()]
        ranks = {len(entry.shape): entry.name for entry in reversed(self._session.get_outputs())}
        # As the node chooses: token vectors, which are pooled, before what is pooled already.
        self._output = ranks.get(3) or ranks.get(2)

    def vector(self, ids: Integers) -> Floats:
        """The vector of a text, of whatever length it is."""
        feeds = {}
        for name, kind in self._inputs:
            values = {"input_ids": ids, "attention_mask": np.ones_like(ids)}.get(name, np.zeros_like(ids))
            feeds[name] = values[np.newaxis].astype(np.int32 if kind == "tensor(int32)" else np.int64)
        (raw,) = self._session.run([self._output], feeds)
        return np.asarray(raw[0].mean(axis=0) if raw.ndim == 3 else raw[0], np.float32)
