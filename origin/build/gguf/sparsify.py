"""The operation `sparsify`: zeros in the place of weights that matter least, in every row of every layer's matrix.

By magnitude, or by magnitude times the norm of what the column is multiplied with (Sun et al., "A Simple and
Effective Pruning Approach for Large Language Models" (Wanda), 2024); a share of each row, or N of every M kept. The
file compresses better; engines compute zeros as fast as anything else, so nothing becomes faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from origin.build.gguf.importance import read_importance
from origin.build.gguf.model_file import ModelFile, matrices
from origin.build.gguf.unquantized import refuse_quantized
from origin.build.gguf.writing import edited_fields, kept, plain, write_model
from origin.build.step import StepProgress
from origin.errors import RecipeInvalidError, StepFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from origin.build.gguf.writing import NewTensor
    from origin.build.gguf_steps import Sparsify
    from origin.build.step import Artifact, Fact, StepWork
    from registry.formats.gguf import GgufTensor

VERSION = 1


def check(step: Sparsify, source: Artifact) -> None:
    """Refuse a pattern that says nothing or two things, and a quantized source.

    Raises:
        RecipeInvalidError: with what is wrong.
    """
    if bool(step.share) == bool(step.pattern):
        raise RecipeInvalidError(
            f'step {step.id}: give either share, such as 0.3, or pattern, such as "2:4"', param="share"
        )
    if step.method == "wanda" and not step.importance:
        raise RecipeInvalidError(
            f"step {step.id}: wanda needs importance, the id of such a step", param="importance"
        )
    if step.pattern and not 0 < kept_of(step.pattern)[0] < kept_of(step.pattern)[1]:
        raise RecipeInvalidError(
            f'step {step.id}: pattern "{step.pattern}" keeps all or nothing; "2:4" keeps 2 of every 4',
            param="pattern",
        )
    in_layers = _in_layers(ModelFile(source.model_file))
    refuse_quantized(step.id, in_layers)
    for tensor in in_layers:
        if step.pattern and tensor.dimensions[0] % kept_of(step.pattern)[1]:
            raise RecipeInvalidError(
                f"step {step.id}: rows of {tensor.name} have {tensor.dimensions[0]} numbers, "
                f"no multiple of {kept_of(step.pattern)[1]}",
                param="pattern",
            )


def run(step: Sparsify, work: StepWork) -> Mapping[str, Fact]:
    """Write the model with zeros in the layers' matrices."""
    model = ModelFile(work.inputs["source"].model_file)
    weights = read_importance(work.inputs["importance"]) if step.method == "wanda" else {}
    names = {tensor.name for tensor in _in_layers(model)}
    zeros, total = 0, 0

    def content(tensor: GgufTensor) -> NDArray[np.float32]:
        nonlocal zeros, total
        values = model.values(tensor.name)
        scores = np.abs(values)
        if step.method == "wanda":
            if tensor.name not in weights:
                raise StepFailedError(
                    f"the importance file says nothing of {tensor.name}; measure it on this model"
                )
            scores = scores * np.sqrt(weights[tensor.name])
        values = np.where(least(scores, step.share, step.pattern), np.float32(0), values)
        zeros, total = zeros + int((values == 0).sum()), total + values.size
        return values

    def written(tensor: GgufTensor) -> NewTensor:
        if tensor.name not in names:
            return kept(model, tensor.name)
        return plain(tensor.name, tuple(reversed(tensor.dimensions)), lambda: content(tensor))

    write_model(
        work.directory / "model.gguf",
        edited_fields(model, {}),
        [written(tensor) for tensor in model],
        wrote=lambda done, of: work.report(StepProgress(done=done, total=of, unit="tensors")),
    )
    return {"zero_share": round(zeros / max(1, total), 6)}


def _in_layers(model: ModelFile) -> list[GgufTensor]:
    return [tensor for tensor in matrices(model) if tensor.name.startswith("blk.")]


def kept_of(pattern: str) -> tuple[int, int]:
    """`2:4` as numbers: how many are kept of how many."""
    few, _, many = pattern.partition(":")
    return int(few), int(many)


def least(scores: NDArray[np.float32], share: float, pattern: str) -> NDArray[np.bool_]:
    """Which of each row's scores are the smallest: a share of them, or all but N of every M."""
    rows, columns = scores.shape
    if pattern:
        few, many = kept_of(pattern)
        scores, gone = scores.reshape(rows, -1, many), many - few
    else:
        gone = round(columns * share)
    order = np.argsort(scores, axis=-1, kind="stable")
    chosen = np.zeros(scores.shape, np.bool_)
    np.put_along_axis(chosen, order[..., :gone], values=True, axis=-1)
    return chosen.reshape(rows, columns)
