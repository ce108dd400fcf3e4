"""Opening: a GGUF of the llama family as tensors to compute with, what it is taught, and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from origin.build.llama.samples import read_rows
from origin.build.llama.shape import read_shape
from origin.build.llama.training import Teacher
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from origin.build.gguf.model_file import ModelFile
    from origin.build.llama.shape import LlamaShape
    from origin.build.llama.training import Learned
    from origin.build.llama_steps import Distill, Qat
    from origin.build.step import Fact, StepWork


def open_teacher(model: ModelFile, device: torch.device, kind: torch.dtype) -> Teacher:
    """The tensors of a model, matrices in `kind`."""
    shape = read_shape(model)
    weights = {}
    for name in shape.tensor_names:
        tensor = torch.from_numpy(model.values(name)).to(device)
        weights[name] = tensor if tensor.ndim == 1 else tensor.to(kind)
    return Teacher(weights=weights, shape=shape)


def check_pair(student: LlamaShape, teacher: LlamaShape) -> None:
    """Refuse a student that cannot say what its teacher says.

    Raises:
        RecipeInvalidError: their vocabularies differ.
    """
    if student.vocabulary_count != teacher.vocabulary_count:
        raise RecipeInvalidError(
            f"a vocabulary of {student.vocabulary_count} tokens cannot learn from a teacher that has "
            f"{teacher.vocabulary_count}; distil before the vocabulary is trimmed, or name another teacher",
            param="teacher",
        )


def check_rows(step: Distill | Qat, shape: LlamaShape) -> None:
    """Refuse rows that the model was not made for.

    Raises:
        RecipeInvalidError: they are longer than its context.
    """
    if step.row_tokens > shape.context_tokens:
        raise RecipeInvalidError(
            f"rows of {step.row_tokens} tokens do not fit the model's context of {shape.context_tokens}",
            param="row_tokens",
        )


def rows_for(step: Distill | Qat, work: StepWork, count: int) -> NDArray[np.int64]:
    """So many rows of the tokens that the step trains on."""
    return read_rows(
        work.inputs["teacher"].model_file,
        work.texts["data"],
        seed=work.seed,
        rows_count=count,
        row_tokens=step.row_tokens,
    )


def facts_of(learned: Learned, device: torch.device, kind: torch.dtype) -> dict[str, Fact]:
    """What a lineage says of training."""
    return {
        "tokens_count": learned.tokens_count,
        "kl_first": round(learned.first, 6),
        "kl_last": round(learned.last, 6),
        "computed_in": str(kind).removeprefix("torch."),
        "device": device.type,
    }
