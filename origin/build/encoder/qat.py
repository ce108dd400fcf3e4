"""QAT: weights and scales learn on the grid that they are served on, and that grid is what is written.

Rounding lets the gradient straight through, of the scale as well (learned step size, https://arxiv.org/abs/1902.08153).
The table of token vectors is rounded beforehand; the layers learn around its error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from origin.build.encoder.distill import hidden_loss, vector_loss
from origin.build.encoder.forward import encode, sentence_vectors
from origin.build.encoder.rounding import GridWeights, rounded_inputs
from origin.build.encoder.student import from_weights, to_weights
from origin.build.encoder.teacher import check_alike
from origin.build.encoder.training import Pace, step_batches, train
from origin.build.onnx import checkpoint as names
from origin.build.onnx.bert_graph import encoder_graph
from origin.build.onnx.blocks import Blocks, Grid, round_blocks
from origin.build.onnx.checkpoint import copy_companions, layer_name, read_checkpoint
from origin.build.onnx.editing import matrices, put_block_table, put_blocks, store_small, token_table
from origin.build.onnx.graph import save_graph
from origin.build.onnx.quantize_blocks import TABLE_GRID
from origin.build.onnx.rows import read_rows
from origin.build.training.machine import choose_machine
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from origin.build.encoder_steps import QatEncoder
    from origin.build.onnx.checkpoint import BertConfig, Checkpoint
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 1


def check(step: QatEncoder, source: Artifact) -> None:
    """Refuse blocks that do not fit the matrices. Raises RecipeInvalidError."""
    config = read_checkpoint(source.directory).config
    for width in (config.hidden_size, config.intermediate_size):
        if width % step.block_count:
            raise RecipeInvalidError(
                f"step {step.id}: {width} is no multiple of block_count = {step.block_count}"
            )


def run(step: QatEncoder, work: StepWork) -> Mapping[str, Fact]:
    """Train, and write the served form."""
    source = work.inputs["source"].directory
    student = read_checkpoint(source)
    teacher = read_checkpoint(work.inputs["teacher"].directory)
    check_alike(student, teacher)
    device, multiplied_in = choose_machine(work.threads_count)
    guide = to_weights(teacher, device, learns=False)
    rows = read_rows(source, work.texts["data"].texts, limit_tokens=step.limit_tokens)
    grid = Grid(bits=step.bits, levels_bits=step.bits, block_count=step.block_count)
    table = round_blocks(student.tensors[names.WORDS], TABLE_GRID)
    student.tensors[names.WORDS] = table.values()
    weights = to_weights(student, device, learns=True)
    weights[names.WORDS].requires_grad_(False)
    on_grid = GridWeights(weights, linear_names(student.config), grid)
    batches = step_batches(rows, seed=work.seed, rows_count=step.batch_rows_count)

    def loss_of(number: int) -> Tensor:
        batch = batches(number)
        learned = encode(
            student.config, on_grid.rounded(), batch, matrices=multiplied_in,
            watch=lambda _, values: rounded_inputs(values, grid.block_count),
        )  # fmt: skip
        with torch.no_grad():
            taught = encode(teacher.config, guide, batch, matrices=multiplied_in)
        loss = vector_loss(
            sentence_vectors(learned, student.pooling), sentence_vectors(taught, teacher.pooling), 0.0
        )
        return loss + step.hidden_weight * hidden_loss(learned, taught)

    pace = Pace(steps_count=step.steps_count, learning_rate=step.learning_rate)
    loss = train(on_grid.leaves, loss_of, pace, work)
    _write(from_weights(student, weights), on_grid, table, work)
    copy_companions(source, work.directory)
    return {
        "loss": round(loss, 6),
        "texts_count": len(rows),
        "matrices": str(multiplied_in),
        "device": device.type,
    }


def linear_names(config: BertConfig) -> list[str]:
    """The matrices of all layers."""
    return [
        f"{layer_name(index, part)}.weight"
        for index in range(config.num_hidden_layers)
        for part in names.LINEARS
    ]


def _write(checkpoint: Checkpoint, on_grid: GridWeights, table: Blocks, work: StepWork) -> None:
    model = encoder_graph(checkpoint)
    for place in matrices(model):
        parts = [on_grid.blocks(name) for name in _parts(place.name)]
        joined = Blocks(
            np.concatenate([part.codes for part in parts]),
            np.concatenate([part.scales for part in parts]),
            parts[0].grid,
        )
        put_blocks(model, place, joined)
    words = token_table(model)
    store_small(model, keep=frozenset({words.name}))
    put_block_table(model, words, table)
    save_graph(model, work.directory / "model.onnx")


def _parts(name: str) -> list[str]:
    joined = "attention.self.query_key_value"
    if joined not in name:
        return [name]
    return [name.replace(joined, part) for part in (names.QUERY, names.KEY, names.VALUE)]
