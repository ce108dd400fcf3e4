"""Run an ONNX encoder over texts, one thread, as a node would: to calibrate it, and to see that it loads."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

# Since 1.29 the Linux wheels report usage unless this is set before the import.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnxruntime

from origin.build.onnx.rows import in_batches
from origin.errors import StepFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from origin.build.onnx.rows import Ids


def open_session(content: bytes | str, *, threads_count: int = 1) -> Any:
    """ONNX Runtime on the processor. Raises StepFailedError: it cannot load this."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = max(1, threads_count)
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its binding has a dozen classes and no common one
        raise StepFailedError(f"ONNX Runtime cannot load what was made: {error}") from error


def check_loads(content: bytes) -> None:
    """See that a text can be embedded and gives finite numbers. Raises StepFailedError."""
    if not np.isfinite(embed(open_session(content), [np.asarray([1, 2, 3], np.int64)])).all():
        raise StepFailedError("what was made gives numbers that are not finite")


def embed(session: Any, rows: Sequence[Ids], *, batch_tokens: int = 2048) -> NDArray[np.float32]:
    """The vector of each row, in order: [rows, width]."""
    vectors = np.zeros((len(rows), session.get_outputs()[0].shape[-1]), np.float32)
    for batch in in_batches(rows, batch_tokens=batch_tokens):
        (vectors[batch.places],) = session.run(None, {"input_ids": batch.ids, "attention_mask": batch.mask})
    return vectors
