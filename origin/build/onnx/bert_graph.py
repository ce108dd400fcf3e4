"""A BERT encoder as an ONNX graph: from token ids to one vector of length 1, pooling and normalization inside.

Query, key and value are one matrix product; attention is ONNX Runtime's own operator, which reads the mask as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from origin.build.onnx import checkpoint as names
from origin.build.onnx.checkpoint import layer_name
from origin.build.onnx.graph import CONTRIB, GraphWriter, text_inputs, vector_output

if TYPE_CHECKING:
    from origin.build.onnx.checkpoint import Checkpoint, Floats, Pooling


def encoder_graph(checkpoint: Checkpoint) -> Any:
    """The graph of a checkpoint, in single precision."""
    writer = GraphWriter("encoder")
    mask = writer.add("Cast", ["attention_mask"], "mask.int32", to=6)
    state = _embedding(writer, checkpoint)
    for index in range(checkpoint.config.num_hidden_layers):
        state = _layer(writer, checkpoint, index, state, mask)
    pooled = pooled_vector(writer, state, checkpoint.pooling)
    unit_vector(writer, pooled)
    return writer.model(text_inputs(), [vector_output(checkpoint.config.hidden_size)])


def _embedding(writer: GraphWriter, checkpoint: Checkpoint) -> str:
    tensors = checkpoint.tensors
    words = writer.weight(names.WORDS, tensors[names.WORDS])
    # All tokens of a text to embed are of the first kind.
    positions = writer.weight(names.POSITIONS, tensors[names.POSITIONS] + tensors[names.KINDS][0])
    tokens = writer.add("Shape", ["input_ids"], start=1, end=2)
    zero, one = (writer.weight(f"number.{value}", np.asarray([value], np.int64)) for value in (0, 1))
    places = writer.add("Slice", [positions, zero, tokens, zero, one])
    state = writer.add("Add", [writer.add("Gather", [words, "input_ids"], "words"), places])
    return _norm(writer, checkpoint, names.NORM, state)


def _layer(writer: GraphWriter, checkpoint: Checkpoint, index: int, state: str, mask: str) -> str:
    tensors, config = checkpoint.tensors, checkpoint.config
    parts = [layer_name(index, part) for part in (names.QUERY, names.KEY, names.VALUE)]
    joined = _linear(
        writer,
        layer_name(index, "attention.self.query_key_value"),
        np.concatenate([tensors[f"{part}.weight"] for part in parts]),
        np.concatenate([tensors[f"{part}.bias"] for part in parts]),
        state,
    )
    query, key, value = writer.split("Split", [joined], 3, axis=2, num_outputs=3)
    attended = writer.add(
        "MultiHeadAttention", [query, key, value, "", mask],
        domain=CONTRIB, num_heads=config.num_attention_heads,
    )  # fmt: skip
    writer.describe(attended, ["rows", "tokens", config.hidden_size])
    after = _named_linear(writer, checkpoint, layer_name(index, names.ATTENDED), attended)
    state = _norm(
        writer, checkpoint, layer_name(index, names.ATTENDED_NORM), writer.add("Add", [after, state])
    )
    raised = _named_linear(writer, checkpoint, layer_name(index, names.RAISED), state)
    lowered = _named_linear(
        writer, checkpoint, layer_name(index, names.LOWERED), _activation(writer, config.hidden_act, raised)
    )
    return _norm(
        writer, checkpoint, layer_name(index, names.LOWERED_NORM), writer.add("Add", [lowered, state])
    )


def _named_linear(writer: GraphWriter, checkpoint: Checkpoint, name: str, values: str) -> str:
    tensors = checkpoint.tensors
    return _linear(writer, name, tensors[f"{name}.weight"], tensors[f"{name}.bias"], values)


def _linear(writer: GraphWriter, name: str, weight: Floats, bias: Floats, values: str) -> str:
    turned = writer.weight(f"{name}.weight", np.ascontiguousarray(weight.T))
    product = writer.add("MatMul", [values, turned], f"{name}.product")
    return writer.add("Add", [product, writer.weight(f"{name}.bias", bias)])


def _activation(writer: GraphWriter, kind: str, values: str) -> str:
    if kind == "relu":
        return writer.add("Relu", [values])
    return writer.add("Gelu", [values], approximate="tanh" if kind == "gelu_new" else "none")


def _norm(writer: GraphWriter, checkpoint: Checkpoint, name: str, values: str) -> str:
    parts = [writer.weight(full, checkpoint.tensors[full]) for full in (f"{name}.weight", f"{name}.bias")]
    return writer.add("LayerNormalization", [values, *parts], epsilon=checkpoint.config.layer_norm_eps)


def pooled_vector(writer: GraphWriter, state: str, pooling: Pooling) -> str:
    """One vector of the token vectors [rows, tokens, width]."""
    if pooling == "first":
        return writer.add("Gather", [state, writer.weight("first", np.asarray(0, np.int64))], axis=1)
    mask = writer.add("Cast", ["attention_mask"], "mask.float", to=1)
    last = writer.weight("axis.last", np.asarray([-1], np.int64))
    middle = writer.weight("axis.middle", np.asarray([1], np.int64))
    counted = writer.add("Mul", [state, writer.add("Unsqueeze", [mask, last])])
    # A row in which nothing counts has no mean; it becomes zeros, not numbers that are none.
    count = writer.add("Max", [
        writer.add("ReduceSum", [mask, middle], keepdims=1), writer.weight("one", np.asarray(1, np.float32)),
    ])  # fmt: skip
    return writer.add("Div", [writer.add("ReduceSum", [counted, middle], keepdims=0), count])


def unit_vector(writer: GraphWriter, pooled: str) -> str:
    """The vector at length 1, as the output of the graph."""
    last = writer.weight("axis.last", np.asarray([-1], np.int64))
    length = writer.add("ReduceL2", [pooled, last], keepdims=1)
    least = writer.weight("length.least", np.asarray(1e-12, np.float32))
    return writer.add("Div", [pooled, writer.add("Max", [length, least])], "sentence_embedding")
