"""Quantize static: matrices and their inputs in 8 bits, ranges seen on texts beforehand (QDQ), by ONNX Runtime.

Of the ways to quantize an encoder the worst by measurement; here because some accelerators read nothing else.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from origin.build.onnx.checkpoint import copy_companions
from origin.build.onnx.graph import load_graph, save_graph
from origin.build.onnx.quantize_blocks import quantize_table, refuse_quantized
from origin.build.onnx.rows import batch_of, read_rows
from origin.build.onnx.running import feeds, open_session
from origin.errors import StepFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from origin.build.encoder_steps import QuantizeStatic
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 2
_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
# Texts are cut to rows of one length: two of its calibrators fail on batches of several shapes.
_ROW_TOKENS = 48
_LEAST_TOKENS = 16
_ROWS_COUNT = 8


def check(step: QuantizeStatic, source: Artifact) -> None:
    """Refuse a file that is quantized already. Raises RecipeInvalidError."""
    refuse_quantized(step.id, source)


def run(step: QuantizeStatic, work: StepWork) -> Mapping[str, Fact]:
    """Write the quantized graph beside its tokenizer."""
    source = work.inputs["source"]
    rows = read_rows(source.directory, work.texts["data"].texts, limit_tokens=_ROW_TOKENS)
    longest = max(map(len, rows))
    whole = [row for row in rows if len(row) == longest][: step.texts_count]
    if longest < _LEAST_TOKENS:
        raise StepFailedError(
            f"step {step.id}: no text of {step.data} has {_LEAST_TOKENS} tokens; calibrate on longer ones"
        )
    with tempfile.TemporaryDirectory(dir=work.checkpoints) as folder:
        file = Path(folder, "model.onnx")
        session = open_session(str(source.model_file))
        batches = (
            feeds(session, batch_of(whole, range(start, min(start + _ROWS_COUNT, len(whole)))))
            for start in range(0, len(whole), _ROWS_COUNT)
        )
        quantize_static(
            source.model_file, file, _Reader(batches),
            quant_format=QuantFormat.QDQ, op_types_to_quantize=["MatMul"], per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            calibrate_method=_METHODS[step.method],
        )  # fmt: skip
        model = load_graph(file)
    quantize_table(model, step.embedding)
    save_graph(model, work.directory / "model.onnx")
    copy_companions(source.directory, work.directory)
    return {"calibrated_texts_count": len(whole), "method": step.method}


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # untyped
    """The calibration's batches, one at a time."""

    def __init__(self, batches: Iterator[dict[str, Any]]) -> None:
        self._batches = batches

    def get_next(self) -> dict[str, Any] | None:
        return next(self._batches, None)
