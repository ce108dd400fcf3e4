"""Distill static: one vector a token, learned so that their mean is the teacher's vector in its main directions.

A token begins with the teacher's vector of it alone, weighed down the more often it is seen
(https://openreview.net/forum?id=SyK00v5xx; https://github.com/MinishLab/model2vec). The second half of the training
computes with rounded numbers, on one grid for the whole table: packed by its entropy that costs least for its bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from origin.build.encoder.distill import vector_loss
from origin.build.encoder.student import to_weights
from origin.build.encoder.teacher import teacher_vectors, vectors_of
from origin.build.encoder.training import Pace, step_batches, train
from origin.build.onnx.checkpoint import copy_companions, read_checkpoint
from origin.build.onnx.graph import save_graph
from origin.build.onnx.rows import read_rows
from origin.build.onnx.static_graph import static_graph
from origin.build.training.machine import choose_machine
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from origin.build.encoder_steps import DistillStatic
    from origin.build.onnx.checkpoint import Checkpoint, Floats
    from origin.build.onnx.rows import Ids, RowBatch
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 1
_TABLE = "table"
_RARE_SHARE = 1e-3
_LIMIT_CODE = 127


def check(step: DistillStatic, source: Artifact) -> None:
    """Refuse vectors longer than the teacher's. Raises RecipeInvalidError."""
    width = read_checkpoint(source.directory).config.hidden_size
    if step.width > width:
        raise RecipeInvalidError(f"step {step.id}: width {step.width} is more than the teacher's {width}")


def run(step: DistillStatic, work: StepWork) -> Mapping[str, Fact]:
    """Train the table, and write it as a graph."""
    source = work.inputs["source"].directory
    teacher = read_checkpoint(source)
    device, matrices = choose_machine(work.threads_count)
    guide = to_weights(teacher, device, learns=False)
    rows = read_rows(source, work.texts["data"].texts, limit_tokens=step.limit_tokens)
    vectors = teacher_vectors(teacher, guide, rows, work, matrices=matrices)
    turn = main_directions(vectors, step.width)
    known = functional.normalize(torch.from_numpy(vectors @ turn), dim=1).to(device)
    alone = vectors_of(teacher, guide, _single_tokens(teacher, rows[0]), matrices=matrices)
    table = (alone @ turn) * _rarity(rows, teacher.config.vocab_size)[:, np.newaxis]
    weights = {_TABLE: torch.from_numpy(table.astype(np.float32)).to(device).requires_grad_()}
    batches = step_batches(rows, seed=work.seed, rows_count=step.batch_rows_count)

    def loss_of(number: int) -> Tensor:
        batch = batches(number)
        rounds = step.step_deviations if 2 * number >= step.steps_count else 0.0
        learned = mean_vectors(weights[_TABLE], batch, step_deviations=rounds)
        return vector_loss(learned, known[torch.from_numpy(batch.places)], step.similarity_weight)

    pace = Pace(steps_count=step.steps_count, learning_rate=step.learning_rate)
    loss = train(weights, loss_of, pace, work)
    learned = weights[_TABLE].detach()
    scale = float(_scale(learned, step.step_deviations))
    codes = torch.clamp(torch.round(learned / scale), -_LIMIT_CODE, _LIMIT_CODE).to(torch.int8).cpu().numpy()
    save_graph(static_graph(codes, scale), work.directory / "model.onnx")
    copy_companions(source, work.directory)
    return {"loss": round(loss, 6), "texts_count": len(rows), "width": step.width, "matrices": str(matrices)}


def main_directions(vectors: Floats, width: int) -> Floats:
    """The directions in which these vectors are longest, [their width, `width`]: similarities stay."""
    _, directions = np.linalg.eigh(vectors.T @ vectors)
    main: Floats = np.ascontiguousarray(directions[:, ::-1][:, :width], np.float32)
    return main


def mean_vectors(table: Tensor, batch: RowBatch, *, step_deviations: float) -> Tensor:
    """One vector of length 1 a row; with numbers rounded as they are served where `step_deviations` is over 0."""
    device = table.device
    chosen = functional.embedding(torch.from_numpy(batch.ids).to(device), table)
    if step_deviations:
        scale = _scale(table.detach(), step_deviations)
        rounded = torch.clamp(torch.round(chosen / scale), -_LIMIT_CODE, _LIMIT_CODE) * scale
        chosen = chosen + (rounded - chosen).detach()  # the gradient goes straight through
    mask = torch.from_numpy(batch.mask).to(device)[:, :, None].to(chosen.dtype)
    return functional.normalize((chosen * mask).sum(1), dim=1)


def _scale(table: Tensor, step_deviations: float) -> Tensor:
    return step_deviations * table.std()


def _rarity(rows: Sequence[Ids], vocabulary_count: int) -> Floats:
    counts = np.bincount(np.concatenate(rows), minlength=vocabulary_count).astype(np.float64)
    rarity: Floats = (_RARE_SHARE / (_RARE_SHARE + counts / counts.sum())).astype(np.float32)
    return rarity


def _single_tokens(teacher: Checkpoint, example: Ids) -> list[Ids]:
    first, last = example[0], example[-1]
    return [np.asarray([first, token, last], np.int64) for token in range(teacher.config.vocab_size)]
