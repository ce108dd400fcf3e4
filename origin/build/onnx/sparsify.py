"""Sparsify: the smallest weights of a matrix become zero (https://arxiv.org/abs/1506.02626), all over or N of each M.

It costs quality, saves a few bytes on the wire, and no time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from origin.build.onnx.checkpoint import LINEARS, Checkpoint, read_checkpoint, write_checkpoint
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from origin.build.encoder_steps import SparsifyEncoder
    from origin.build.onnx.checkpoint import Floats
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 1


def check(step: SparsifyEncoder, source: Artifact) -> None:
    """Refuse a pattern that is none or does not fit. Raises RecipeInvalidError."""
    config = read_checkpoint(source.directory).config
    if (step.share is None) == (not step.of_each):
        raise RecipeInvalidError(f"step {step.id} needs either share, or zeros_count and of_each")
    if not step.of_each:
        return
    if not 0 < step.zeros_count < step.of_each:
        raise RecipeInvalidError(
            f"step {step.id}: {step.zeros_count} of each {step.of_each} cannot be zero; take 2 of each 4, for one"
        )
    for width in (config.hidden_size, config.intermediate_size):
        if width % step.of_each:
            raise RecipeInvalidError(f"step {step.id}: {width} is no multiple of of_each = {step.of_each}")


def run(step: SparsifyEncoder, work: StepWork) -> Mapping[str, Fact]:
    """Write the encoder with zeros."""
    checkpoint = read_checkpoint(work.inputs["source"].directory)
    tensors = dict(checkpoint.tensors)
    for name, values in checkpoint.tensors.items():
        if name.endswith(tuple(f".{part}.weight" for part in LINEARS)):
            tensors[name] = _sparse(step, values)
    sparse = Checkpoint(
        checkpoint.config, checkpoint.settings, tensors, checkpoint.directory, checkpoint.pooling
    )
    write_checkpoint(sparse, work.directory)
    return {}


def _sparse(step: SparsifyEncoder, weights: Floats) -> Floats:
    if step.of_each:
        return smallest_of_each(weights, step.zeros_count, step.of_each)
    return smallest_overall(weights, step.share or 0.0)


def smallest_overall(weights: Floats, share: float) -> Floats:
    """The matrix without the smallest `share` of its weights."""
    zeros_count = int(share * weights.size)
    sparse = weights.copy().reshape(-1)
    sparse[np.argsort(np.abs(sparse), kind="stable")[:zeros_count]] = 0
    return sparse.reshape(weights.shape)


def smallest_of_each(weights: Floats, zeros_count: int, of_each: int) -> Floats:
    """The matrix without the smallest `zeros_count` of each `of_each` neighbours in a row."""
    groups = weights.copy().reshape(-1, of_each)
    smallest = np.argsort(np.abs(groups), axis=1, kind="stable")[:, :zeros_count]
    np.put_along_axis(groups, smallest, 0, axis=1)
    return groups.reshape(weights.shape)
