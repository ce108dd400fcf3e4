"""Quantize dynamic: matrices in 8 bits, their inputs rounded as they come, by ONNX Runtime's own quantizer.

One scale holds for all inputs of a batch, so a node computes each request by itself.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from onnxruntime.quantization import QuantType, quantize_dynamic

from origin.build.onnx.checkpoint import copy_companions
from origin.build.onnx.graph import load_graph, save_graph
from origin.build.onnx.quantize_blocks import quantize_table, refuse_quantized

if TYPE_CHECKING:
    from collections.abc import Mapping

    from origin.build.encoder_steps import QuantizeDynamic
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 2


def check(step: QuantizeDynamic, source: Artifact) -> None:
    """Refuse a file that is quantized already. Raises RecipeInvalidError."""
    refuse_quantized(step.id, source)


def run(step: QuantizeDynamic, work: StepWork) -> Mapping[str, Fact]:
    """Write the quantized graph beside its tokenizer."""
    source = work.inputs["source"]
    with tempfile.TemporaryDirectory(dir=work.checkpoints) as folder:
        file = Path(folder, "model.onnx")
        quantize_dynamic(
            source.model_file, file,
            op_types_to_quantize=["MatMul"], per_channel=step.per_channel, weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )  # fmt: skip
        model = load_graph(file)
    quantize_table(model, step.embedding)
    save_graph(model, work.directory / "model.onnx")
    copy_companions(source.directory, work.directory)
    return {"per_channel": step.per_channel}
