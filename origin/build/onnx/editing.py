"""Editing: find the matrices and the tables of a graph, and put rounded ones in their place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from origin.build.onnx.blocks import Blocks, packed
from origin.build.onnx.graph import CONTRIB
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from origin.build.onnx.checkpoint import Floats

_LARGE_COUNT = 1 << 10
# MatMulNBits' accuracy_level: what it multiplies in.
_FLOATS, _INTEGERS = 1, 4


@dataclass(frozen=True, slots=True)
class Weighted:
    """A node with a matrix of its own.

    Attributes:
        values: as the file has it: [inputs, outputs] of a product, [rows, width] of a table.
    """

    node: Any
    name: str
    values: Floats


def matrices(model: Any) -> list[Weighted]:
    """The matrix products with constant weights."""
    return [found for found in _weighted(model, "MatMul", place=1) if found.values.ndim == 2]


def token_table(model: Any) -> Weighted:
    """The table that token ids look up.

    Raises:
        RecipeInvalidError: the graph has none in single precision: it is quantized already, or is no text model.
    """
    for found in _weighted(model, "Gather", place=0):
        if found.node.input[1] == "input_ids":
            return found
    raise RecipeInvalidError(
        "the ONNX file has no table of token vectors in single precision; give one that is not quantized yet"
    )


def put_blocks(model: Any, place: Weighted, blocks: Blocks, *, rounds_inputs: bool = True) -> None:
    """Blocks in place of a matrix: a MatMulNBits. `blocks` has a row for each output.

    Args:
        model: is changed.
        place: of the matrix.
        blocks: what takes its place.
        rounds_inputs: to 8 bits with a scale for each block of each row, and then multiplied as integers.
    """
    outputs_count, inputs_count = blocks.codes.shape
    grid = blocks.grid
    block_bytes = grid.block_count * grid.bits // 8
    codes = packed(blocks.codes, grid).reshape(outputs_count, inputs_count // grid.block_count, block_bytes)
    names = _add(model, {f"{place.name}.codes": codes, f"{place.name}.scales": blocks.scales.reshape(-1)})
    node = helper.make_node(
        "MatMulNBits", [place.node.input[0], *names], list(place.node.output), name=place.node.name,
        domain=CONTRIB, K=inputs_count, N=outputs_count, bits=grid.bits, block_size=grid.block_count,
        accuracy_level=_INTEGERS if rounds_inputs else _FLOATS,
    )  # fmt: skip
    _replace(model, place, [node])


def put_block_table(model: Any, place: Weighted, blocks: Blocks) -> None:
    """A table in 4-bit blocks: a GatherBlockQuantized."""
    grid = blocks.grid
    assert grid.bits == 4, "block tables have 4 bits: runtimes before 1.23 read no others"
    # With the top bit turned the codes are signed numbers, whose zero needs no tensor.
    nibbles = (packed(blocks.codes, grid) ^ 0x88).tobytes()
    codes = helper.make_tensor(f"{place.name}.codes", TensorProto.INT4, blocks.codes.shape, nibbles, raw=True)
    model.graph.initializer.append(codes)
    (scales,) = _add(model, {f"{place.name}.scales": blocks.scales})
    node = helper.make_node(
        "GatherBlockQuantized", [codes.name, place.node.input[1], scales], list(place.node.output),
        name=place.node.name, domain=CONTRIB, gather_axis=0, quantize_axis=1, block_size=grid.block_count,
    )  # fmt: skip
    _replace(model, place, [node])


def put_row_table(model: Any, place: Weighted, codes: Any, scales: Floats) -> None:
    """A table in 8 bits with a scale for each row [rows, 1], or one for all [1]: standard operators only."""
    table, scale = _add(model, {f"{place.name}.codes": codes, f"{place.name}.scales": scales})
    ids, output = place.node.input[1], place.node.output[0]
    nodes = [
        helper.make_node("Gather", [table, ids], [f"{output}.codes"], name=f"{output}/codes"),
        helper.make_node("Cast", [f"{output}.codes"], [f"{output}.floats"], name=f"{output}/floats", to=1),
    ]
    if scales.ndim == 2:
        nodes.append(helper.make_node("Gather", [scale, ids], [f"{output}.scale"], name=f"{output}/scale"))
        scale = f"{output}.scale"
    nodes.append(helper.make_node("Mul", [f"{output}.floats", scale], [output], name=f"{output}/scaled"))
    _replace(model, place, nodes)


def store_small(model: Any, *, keep: frozenset[str] = frozenset()) -> None:
    """Tables that are left in single precision, such as that of positions, as 8 bits and a scale for each row.

    Only the file is smaller: ONNX Runtime multiplies them out once, when it loads.
    """
    graph = model.graph
    for tensor in list(graph.initializer):
        large = len(tensor.dims) == 2 and np.prod(tensor.dims) >= _LARGE_COUNT
        if tensor.data_type != TensorProto.FLOAT or not large or tensor.name in keep:
            continue
        codes, scales = round_rows(numpy_helper.to_array(tensor))
        graph.initializer.remove(tensor)
        name = tensor.name
        _add(model, {f"{name}.codes": codes, f"{name}.scales": scales})
        nodes = [
            helper.make_node("Cast", [f"{name}.codes"], [f"{name}.floats"], name=f"{name}/floats", to=1),
            helper.make_node("Mul", [f"{name}.floats", f"{name}.scales"], [name], name=f"{name}/scaled"),
        ]
        for node in reversed(nodes):
            graph.node.insert(0, node)


def round_rows(values: Floats) -> tuple[Any, Floats]:
    """8-bit codes and the scale of each row, by its largest number."""
    scales = np.maximum(np.abs(values).max(axis=1, keepdims=True) / 127, 1e-12).astype(np.float32)
    return np.rint(values / scales).astype(np.int8), scales


def round_evenly(values: Floats, step_deviations: float) -> tuple[Any, Floats]:
    """8-bit codes on one grid for all, its step a share of the standard deviation.

    With codes packed by their entropy no other grid has a smaller square error for its bytes (Gish and Pierce, 1968).
    """
    scale = np.asarray(
        [max(step_deviations * float(values.std()), float(np.abs(values).max()) / 4096)], np.float32
    )
    return np.clip(np.rint(values / scale), -127, 127).astype(np.int8), scale


def _weighted(model: Any, kind: str, *, place: int) -> Iterator[Weighted]:
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in list(model.graph.node):
        tensor = weights.get(node.input[place]) if node.op_type == kind else None
        if (
            tensor is not None
            and tensor.data_type == TensorProto.FLOAT
            and np.prod(tensor.dims) >= _LARGE_COUNT
        ):
            yield Weighted(node, tensor.name, numpy_helper.to_array(tensor))


def _add(model: Any, tensors: dict[str, Any]) -> list[str]:
    model.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in tensors.items())
    return list(tensors)


def _replace(model: Any, place: Weighted, nodes: list[Any]) -> None:
    graph = model.graph
    if not any(entry.domain == CONTRIB for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))
    at = list(graph.node).index(place.node)
    graph.node.remove(place.node)
    for offset, node in enumerate(nodes):
        graph.node.insert(at + offset, node)
    if not any(place.name in node.input for node in graph.node):
        graph.initializer.remove(next(tensor for tensor in graph.initializer if tensor.name == place.name))
