"""The operation `compensate`: blocks of 32 whose rounding errors make each other good over calibration text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from origin.build.gguf.activations import HEADS, Activations, collect
from origin.build.gguf.blocks import BLOCK, BLOCK_TYPES
from origin.build.gguf.model_file import ModelFile, matrices
from origin.build.gguf.quantize import tensor_types
from origin.build.gguf.rounding import compensated, loss
from origin.build.gguf.writing import NewTensor, edited_fields, file_type, kept, write_model
from origin.build.step import StepProgress
from origin.errors import RecipeInvalidError, StepFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from origin.build.gguf_steps import Compensate
    from origin.build.step import Artifact, Fact, StepWork
    from registry.formats.gguf import GgufTensor

VERSION = 1
EMBEDDING = "token_embd.weight"
_LOOKUP_SHARE = 1.0
"""How much a row's error counts where it is looked up, against where it makes a logit."""


def check(step: Compensate, source: Artifact) -> None:
    """Refuse an expression that is none, and a model with no row of whole blocks.

    Raises:
        RecipeInvalidError: with what is wrong.
    """
    for pattern in step.tensors:
        try:
            re.compile(pattern)
        except re.error as error:
            raise RecipeInvalidError(
                f'step {step.id}: tensors."{pattern}" is no regular expression: {error}', param="tensors"
            ) from error
    if not any(fits(tensor) for tensor in matrices(ModelFile(source.model_file))):
        raise RecipeInvalidError(
            f"step {step.id}: no matrix of this model has rows of whole blocks of {BLOCK}", param="from"
        )


def run(step: Compensate, work: StepWork) -> Mapping[str, Fact]:
    """Measure the Gram matrices, then round one matrix after the other."""
    path = work.inputs["source"].model_file
    model = ModelFile(path)
    types = {tensor.name: chosen_type(step, tensor.name) for tensor in matrices(model) if fits(tensor)}
    sums = collect(
        path,
        work.texts["data"].texts,
        limit_tokens=step.tokens,
        threads_count=work.threads_count,
        report=work.report,
        wants_gram=lambda name: name in types,
    )
    losses: dict[str, Fact] = {}

    def tensor(known: GgufTensor) -> NewTensor:
        element = types.get(known.name)
        if element is None:
            return kept(model, known.name)
        return NewTensor(known.name, known.dimensions, element, lambda: content(known.name, element))

    def content(name: str, element: str) -> NDArray[np.uint8]:
        values = model.values(name)
        rounded, losses[name] = round_matrix(
            element, values, gram_of(sums, name, values.shape[1]), step.sweeps
        )
        return rounded

    write_model(
        work.directory / "model.gguf",
        edited_fields(model, {"general.file_type": file_type(step.type), "general.quantization_version": 2}),
        [tensor(known) for known in model],
        wrote=_reporting(work),
    )
    return {
        "tokens_count": sums.tokens_count,
        "relative_losses": losses,
        **tensor_types(ModelFile(work.directory / "model.gguf")),
    }


def round_matrix(
    element: str, values: NDArray[np.float32], gram: NDArray[np.float32], sweeps_count: int
) -> tuple[NDArray[np.uint8], float]:
    """The bytes of a rounded matrix, and what share of its output's power was lost.

    Raises:
        StepFailedError: the matrix has numbers that are not finite.
    """
    if not np.isfinite(values).all():
        raise StepFailedError("a matrix has numbers that are not finite; the source model is broken")
    blocks = compensated(BLOCK_TYPES[element], values, gram, sweeps_count=sweeps_count)
    power = max(loss(values, np.zeros_like(values), gram), 1e-30)
    return blocks.to_bytes(), round(loss(values, blocks.values(), gram) / power, 9)


def gram_of(sums: Activations, name: str, columns: int) -> NDArray[np.float32]:
    """The Gram matrix that `name` is rounded for; of a matrix that nothing flowed into, all columns count alike."""
    gram = sums.gram(name)
    if gram is None or len(gram) != columns:
        return np.eye(columns, dtype=np.float32)
    if name in HEADS[1:]:
        # A row of the embedding also enters the model as it is.
        scale = np.float32(columns / max(float(np.trace(gram)), 1e-30))
        gram = gram * scale + _LOOKUP_SHARE * np.eye(columns, dtype=np.float32)
    return gram


def fits(tensor: GgufTensor) -> bool:
    """Whether its rows are whole blocks."""
    return tensor.dimensions[0] % BLOCK == 0


def chosen_type(step: Compensate, name: str) -> str:
    """The type of one matrix, as the recipe says."""
    for pattern, element in step.tensors.items():
        if re.search(pattern, name):
            return element
    return step.embedding if name == EMBEDDING else step.type


def _reporting(work: StepWork) -> Callable[[int, int], None]:
    return lambda done, total: work.report(StepProgress(done=done, total=total, unit="tensors"))
