"""Quantize blocks: weights in 4 or 8 bits, a scale for each block; no answer depends on its company in a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from origin.build.onnx.blocks import Blocks, Grid, round_blocks
from origin.build.onnx.calibration import input_squares
from origin.build.onnx.checkpoint import copy_companions
from origin.build.onnx.editing import (
    matrices,
    put_block_table,
    put_blocks,
    put_row_table,
    round_evenly,
    round_rows,
    store_small,
    token_table,
)
from origin.build.onnx.graph import load_graph, save_graph
from origin.build.step import StepProgress
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from origin.build.encoder_steps import QuantizeBlocks, TableForm
    from origin.build.onnx.checkpoint import Floats
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 2
TABLE_GRID = Grid(bits=4, levels_bits=4, block_count=32)
"""Of a table of token vectors in `blocks4`."""
_BLOCK_COUNTS = {4: 32, 8: 64}


def check(step: QuantizeBlocks, source: Artifact) -> None:
    """Refuse settings that contradict each other, and a file that is quantized already. Raises RecipeInvalidError."""
    if step.bits == 4 and (step.levels_bits not in {0, 4} or step.step_deviations):
        raise RecipeInvalidError(
            f"step {step.id}: levels_bits and step_deviations are of 8 stored bits; set bits = 8"
        )
    if step.embedding_step_deviations and step.embedding != "rows8":
        raise RecipeInvalidError(
            f'step {step.id}: embedding_step_deviations is of 8 stored bits; set embedding = "rows8"'
        )
    refuse_quantized(step.id, source)


def refuse_quantized(step_id: str, source: Artifact) -> None:
    """Refuse a graph without matrices or without a table in single precision. Raises RecipeInvalidError."""
    model = load_graph(source.model_file)
    if not matrices(model):
        raise RecipeInvalidError(f"step {step_id}: the ONNX file has no matrices in single precision")
    token_table(model)


def run(step: QuantizeBlocks, work: StepWork) -> Mapping[str, Fact]:
    """Write the quantized graph beside its tokenizer."""
    source = work.inputs["source"]
    model = load_graph(source.model_file)
    squares = (
        input_squares(source, work.texts["data"].texts, threads_count=work.threads_count) if step.data else {}
    )
    places = matrices(model)
    errors: list[float] = []
    for done, place in enumerate(places, 1):
        # A kernel wants a row for each output.
        weights = np.ascontiguousarray(place.values.T)
        blocks = _rounded(step, weights, squares.get(place.node.input[0]))
        errors.append(float(np.square(weights - blocks.values()).mean() / np.square(weights).mean()))
        put_blocks(model, place, blocks, rounds_inputs=step.rounds_inputs)
        work.report(StepProgress(done=done, total=len(places), unit="matrices"))
    quantize_table(model, step.embedding, step.embedding_step_deviations)
    save_graph(model, work.directory / "model.onnx")
    copy_companions(source.directory, work.directory)
    return {"matrices_count": len(places), "relative_square_error": round(float(np.mean(errors)), 8)}


def quantize_table(model: Any, form: TableForm, step_deviations: float = 0.0) -> None:
    """The table of token vectors in another form, and other tables in 8 bits."""
    table = token_table(model)
    store_small(model, keep=frozenset({table.name}))
    if form == "float":
        return
    if form == "blocks4":
        put_block_table(model, table, round_blocks(table.values, TABLE_GRID))
    elif step_deviations:
        put_row_table(model, table, *round_evenly(table.values, step_deviations))
    else:
        put_row_table(model, table, *round_rows(table.values))


def _rounded(step: QuantizeBlocks, weights: Floats, squares: Floats | None) -> Blocks:
    block_count = step.block_count or _BLOCK_COUNTS[step.bits]
    if weights.shape[1] % block_count:
        raise RecipeInvalidError(
            f"step {step.id}: {weights.shape[1]} columns are no multiple of block_count = {block_count}"
        )
    grid = Grid(bits=step.bits, levels_bits=step.levels_bits or step.bits, block_count=block_count)
    if not step.step_deviations:
        return round_blocks(weights, grid, squares)
    codes, scale = round_evenly(weights, step.step_deviations)
    scales = np.broadcast_to(scale, (len(weights), weights.shape[1] // block_count))
    return Blocks(codes, np.ascontiguousarray(scales), grid)
