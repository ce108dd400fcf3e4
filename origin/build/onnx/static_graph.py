"""A text model without attention as an ONNX graph: the mean of its tokens' vectors, in standard operators alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from origin.build.onnx.bert_graph import pooled_vector, unit_vector
from origin.build.onnx.graph import GraphWriter, text_inputs, vector_output

if TYPE_CHECKING:
    from origin.build.onnx.blocks import Codes


def static_graph(codes: Codes, scale: float) -> Any:
    """The graph of a table of 8-bit codes [tokens, width] with one scale."""
    writer = GraphWriter("static_encoder")
    chosen = writer.add("Gather", [writer.weight("tokens.codes", codes), "input_ids"])
    floats = writer.add("Cast", [chosen], to=1)
    state = writer.add("Mul", [floats, writer.weight("tokens.scale", np.asarray([scale], np.float32))])
    unit_vector(writer, pooled_vector(writer, state, "mean"))
    return writer.model(text_inputs(), [vector_output(codes.shape[1])])
