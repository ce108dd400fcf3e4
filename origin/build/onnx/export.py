"""Export: a checkpoint of the BERT family becomes an ONNX graph that a node serves, without torch and its exporter."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.build.onnx.bert_graph import encoder_graph
from origin.build.onnx.checkpoint import copy_companions, read_checkpoint
from origin.build.onnx.graph import OPSET, save_graph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from origin.build.encoder_steps import ExportOnnx
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 1


def check(_step: ExportOnnx, source: Artifact) -> None:
    """Refuse what is no encoder of the BERT family. Raises RecipeInvalidError."""
    read_checkpoint(source.directory)


def run(_step: ExportOnnx, work: StepWork) -> Mapping[str, Fact]:
    """Write model.onnx, config.json and the tokenizer."""
    source = work.inputs["source"].directory
    checkpoint = read_checkpoint(source)
    save_graph(encoder_graph(checkpoint), work.directory / "model.onnx")
    copy_companions(source, work.directory)
    return {"opset": OPSET, "layers_count": checkpoint.config.num_hidden_layers}
