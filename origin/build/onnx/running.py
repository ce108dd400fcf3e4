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

    from origin.build.onnx.rows import Ids, RowBatch


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
    session = open_session(content)
    (batch,) = in_batches([np.asarray([1, 2, 3], np.int64)], batch_tokens=3)
    if not all(np.isfinite(values).all() for values in run(session, batch, None)):
        raise StepFailedError("what was made gives numbers that are not finite")


def run(session: Any, batch: RowBatch, outputs: Sequence[str] | None) -> list[NDArray[Any]]:
    """The outputs named, or all, for a batch. Raises StepFailedError: ONNX Runtime cannot compute it."""
    given = feeds(session, batch)
    try:
        values: list[NDArray[Any]] = session.run(outputs, given)
    except Exception as error:  # its binding has a dozen classes and no common one
        raise StepFailedError(f"ONNX Runtime cannot compute what was made: {error}") from error
    return values


def feeds(session: Any, batch: RowBatch) -> dict[str, NDArray[Any]]:
    """A batch as a text model wants it, whichever of the three usual inputs it takes.

    Raises:
        StepFailedError: it wants something else.
    """
    known = {"input_ids": batch.ids, "attention_mask": batch.mask, "token_type_ids": np.zeros_like(batch.ids)}
    wanted = {entry.name: entry.type for entry in session.get_inputs()}
    if not wanted.keys() <= known.keys():
        raise StepFailedError(
            f"the ONNX file takes {', '.join(sorted(wanted))}; of text models only token ids are known"
        )
    return {
        name: known[name].astype(np.int32 if kind == "tensor(int32)" else np.int64)
        for name, kind in wanted.items()
    }


def embed(session: Any, rows: Sequence[Ids], *, batch_tokens: int = 2048) -> NDArray[np.float32]:
    """The vector of each row, in order: [rows, width]."""
    vectors = np.zeros((len(rows), session.get_outputs()[0].shape[-1]), np.float32)
    for batch in in_batches(rows, batch_tokens=batch_tokens):
        (vectors[batch.places],) = run(session, batch, None)
    return vectors
