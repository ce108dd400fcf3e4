"""The operation `compensate`: blocks of 32 whose rounding errors make each other good over calibration text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.quantize import check_patterns, tensor_types
from origin.build.gguf.rounded_file import EMBEDDING, roundable, write_rounded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from origin.build.gguf_steps import Compensate
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 1


def check_words(step: Compensate) -> None:
    """Refuse an expression that is none. Raises RecipeInvalidError."""
    check_patterns(step.id, step.tensors)


def check(step: Compensate, source: Artifact) -> None:
    """Refuse an expression that is none, and a model that cannot be rounded. Raises RecipeInvalidError."""
    check_words(step)
    roundable(step.id, ModelFile(source.model_file))


def run(step: Compensate, work: StepWork) -> Mapping[str, Fact]:
    """Measure the Gram matrices, then round one matrix after the other."""
    model = ModelFile(work.inputs["source"].model_file)
    types = {tensor.name: chosen_type(step, tensor.name) for tensor in roundable(step.id, model)}
    losses = write_rounded(model, types, work, tokens=step.tokens, sweeps=step.sweeps, label=step.type)
    return {"relative_losses": dict(losses), **tensor_types(ModelFile(work.directory / "model.gguf"))}


def chosen_type(step: Compensate, name: str) -> str:
    """The type of one matrix, as the recipe says."""
    for pattern, element in step.tensors.items():
        if re.search(pattern, name):
            return element
    return step.embedding if name == EMBEDDING else step.type
