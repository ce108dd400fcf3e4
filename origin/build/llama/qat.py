"""Qat: the codes and scales of a quantized model are trained, and written as they were in the last step of training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from origin.build.gguf.blocks import BLOCK_TYPES, from_bytes
from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.writing import NewTensor, edited_fields, kept, plain, write_model
from origin.build.llama.opening import (
    check_pair,
    check_rows,
    facts_of,
    open_teacher,
    rows_for,
)
from origin.build.llama.shape import EMBEDDING, read_shape
from origin.build.llama.training import Lessons, train
from origin.build.llama.weights import CodedWeight, FixedWeight, PlainWeight
from origin.build.training.machine import choose_machine
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from origin.build.llama.weights import Weight
    from origin.build.llama_steps import Qat
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 1
_TRAINED = frozenset(BLOCK_TYPES) - {"Q8_0"}
"""Of eight bits the rounding is not worth training."""


def check(step: Qat, source: Artifact) -> None:
    """Refuse what cannot be trained.

    Raises:
        RecipeInvalidError: no model of the llama family, rows longer than its context, or no tensor of a type that is
            trained.
    """
    model = ModelFile(source.model_file)
    check_rows(step, read_shape(model))
    if not any(tensor.element in _TRAINED for tensor in model):
        found = ", ".join(sorted({tensor.element for tensor in model}))
        raise RecipeInvalidError(
            f"there is nothing to train: the tensors are of {found}; quantize to one of {', '.join(sorted(_TRAINED))}",
            param="from",
        )


def run(step: Qat, work: StepWork) -> Mapping[str, Fact]:
    """Train, and write the same tensors of the same types with the codes that came of it."""
    device, kind = choose_machine(work.threads_count)
    model = ModelFile(work.inputs["source"].model_file)
    shape = read_shape(model)
    teacher = open_teacher(ModelFile(work.inputs["teacher"].model_file), device, kind)
    check_pair(shape, teacher.shape)
    origin = work.inputs.get("weights", work.inputs["teacher"])
    student = _student(step, model, ModelFile(origin.model_file), device, kind)
    lessons = Lessons(
        rows=rows_for(step, work, step.steps_count * step.rows_per_step), steps_count=step.steps_count
    )
    learned = train(student, shape, teacher, lessons, checkpoints=work.checkpoints, report=work.report)
    tensors = [_written(model, tensor.name, student[tensor.name]) for tensor in model]
    write_model(work.directory / "model.gguf", edited_fields(model, {}), tensors)
    trained = {tensor.element for tensor in model if tensor.element in _TRAINED}
    return {**facts_of(learned, device, kind), "trained": [*sorted(trained)]}


def _student(
    step: Qat, model: ModelFile, origin: ModelFile, device: torch.device, kind: torch.dtype
) -> dict[str, Weight]:
    student: dict[str, Weight] = {}
    for tensor in model:
        name = tensor.name
        if len(tensor.dimensions) == 1:
            student[name] = PlainWeight(
                torch.from_numpy(model.values(name)).to(device), step.scale_rate, torch.float32
            )
        elif tensor.element in _TRAINED:
            if name not in origin or origin.tensors[name].dimensions != tensor.dimensions:
                raise RecipeInvalidError(
                    f"{name} of the model that was quantized is missing or of another size; name the step that was "
                    "quantized",
                    param="weights",
                )
            student[name] = CodedWeight(
                from_bytes(tensor.element, model.raw(name)),
                origin.values(name),
                code_rate=step.embedding_rate if name == EMBEDDING else step.code_rate,
                scale_rate=step.scale_rate,
                kind=kind,
                device=device,
            )
        else:
            student[name] = FixedWeight(torch.from_numpy(model.values(name)).to(device, kind))
    return student


def _written(model: ModelFile, name: str, weight: Weight) -> NewTensor:
    if isinstance(weight, PlainWeight):
        return plain(name, weight.numbers().shape, weight.numbers)
    if isinstance(weight, CodedWeight):
        tensor = model.tensors[name]
        return NewTensor(name, tensor.dimensions, tensor.element, _bytes_of(weight))
    return kept(model, name)


def _bytes_of(weight: CodedWeight) -> Callable[[], NDArray[np.uint8]]:
    return lambda: weight.blocks().to_bytes()
