"""Distill: a model of the llama family learns to say what its teacher says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.writing import edited_fields, plain, write_model
from origin.build.llama.bridging import bridges
from origin.build.llama.opening import (
    check_pair,
    check_rows,
    facts_of,
    open_teacher,
    rows_for,
)
from origin.build.llama.shape import LAYER_MATRICES, LAYER_NORMS, read_shape
from origin.build.llama.training import Lessons, train
from origin.build.llama.weights import PlainWeight
from origin.build.step import StepProgress
from origin.build.training.machine import choose_machine
from origin.errors import RecipeInvalidError, StepFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from origin.build.llama.shape import LlamaShape
    from origin.build.llama.training import Teacher
    from origin.build.llama_steps import Distill
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 1
_LARGEST = float(np.finfo(np.float16).max)


def check(step: Distill, source: Artifact) -> None:
    """Refuse what cannot be taught.

    Raises:
        RecipeInvalidError: no model of the llama family, rows longer than its context, or layers that it has not.
    """
    shape = read_shape(ModelFile(source.model_file))
    check_rows(step, shape)
    _chosen_layers(step, shape)


def run(step: Distill, work: StepWork) -> Mapping[str, Fact]:
    """Train, and write a file of F16 matrices."""
    device, kind = choose_machine(work.threads_count)
    model = ModelFile(work.inputs["source"].model_file)
    whole = read_shape(model)
    layers = _chosen_layers(step, whole)
    shape = replace(whole, layers_count=len(layers))
    teacher_file = ModelFile(work.inputs["teacher"].model_file)
    teacher = open_teacher(teacher_file, device, kind)
    check_pair(shape, teacher.shape)
    if step.hidden_share and shape.width != teacher.shape.width:
        raise RecipeInvalidError(
            "layers of another width than the teacher's cannot be compared", param="hidden_share"
        )
    rows = rows_for(step, work, max(step.steps_count * step.rows_per_step, step.bridge_rows))
    copies = _copied_layers(model, layers, teacher_file)
    numbers = {
        name: torch.from_numpy(model.values(_name_in_source(name, layers))) for name in shape.tensor_names
    }
    bridged = _bridged(teacher, copies, rows[: step.bridge_rows], work)
    student = {
        name: PlainWeight(
            bridged.get(name, value).to(device), step.rate, torch.float32 if value.ndim == 1 else kind
        )
        for name, value in numbers.items()
    }
    lessons = Lessons(
        rows=rows[: step.steps_count * step.rows_per_step],
        steps_count=step.steps_count,
        hidden_share=step.hidden_share,
        layers_of_teacher=_places_in_teacher(copies, len(layers), teacher.shape.layers_count),
    )
    learned = train(student, shape, teacher, lessons, checkpoints=work.checkpoints, report=work.report)
    for name, weight in student.items():
        if (largest := float(np.abs(weight.numbers()).max())) > _LARGEST:
            raise StepFailedError(f"{name} grew to {largest:.3g}, more than F16 holds; give a lower rate")
    fields = edited_fields(model, {"llama.block_count": len(layers)})
    tensors = [
        plain(name, student[name].numbers().shape, student[name].numbers) for name in shape.tensor_names
    ]
    write_model(work.directory / "model.gguf", fields, tensors)
    return {**facts_of(learned, device, kind), "bridged": [*sorted(bridged)]}


def _bridged(
    teacher: Teacher, copies: Sequence[int], rows: NDArray[np.int64], work: StepWork
) -> dict[str, torch.Tensor]:
    """What the layers before missing ones take over, by name in the student."""
    if not copies or not len(rows):
        return {}
    found = bridges(
        teacher.weights,
        teacher.shape,
        copies,
        rows,
        passed=lambda done: work.report(
            StepProgress(done=done, total=len(rows), unit="rows", note="bridging")
        ),
    )
    numbers = {layer: place for place, layer in enumerate(copies)}
    return {f"blk.{numbers[layer]}.ffn_down.weight": matrix for layer, matrix in found.items()}


def _chosen_layers(step: Distill, shape: LlamaShape) -> tuple[int, ...]:
    layers = step.layers or tuple(range(shape.layers_count))
    if list(layers) != sorted(set(layers)):
        raise RecipeInvalidError("layers are named once each, in their order", param="layers")
    unknown = next((layer for layer in layers if not 0 <= layer < shape.layers_count), None)
    if unknown is not None:
        raise RecipeInvalidError(
            f"the model has the layers 0 to {shape.layers_count - 1}, and {unknown} is asked for",
            param="layers",
        )
    return layers


def _name_in_source(name: str, layers: Sequence[int]) -> str:
    if not name.startswith("blk."):
        return name
    _, number, rest = name.split(".", 2)
    return f"blk.{layers[int(number)]}.{rest}"


def _copied_layers(student: ModelFile, layers: Sequence[int], teacher: ModelFile) -> list[int]:
    """For each layer the one of the teacher that it is a copy of; nothing where one is none."""
    found: list[int] = []
    for layer in layers:
        first = found[-1] + 1 if found else 0
        same = [
            other for other in range(first, teacher.layers_count) if _is_copy(student, layer, teacher, other)
        ]
        if not same:
            return []
        found.append(same[0])
    return found


def _is_copy(student: ModelFile, layer: int, teacher: ModelFile, other: int) -> bool:
    names = [(f"blk.{layer}.{name}", f"blk.{other}.{name}") for name in (*LAYER_NORMS, *LAYER_MATRICES)]
    return all(
        student.tensors[own].element == teacher.tensors[theirs].element
        and np.array_equal(student.raw(own), teacher.raw(theirs))
        for own, theirs in names
    )


def _places_in_teacher(copies: Sequence[int], count: int, theirs_count: int) -> list[int]:
    """For each layer the one of the teacher that it should end where: the last before the next one's.

    What a dropped layer did is so asked of the one before it. Layers that are no copies are spread evenly.
    """
    if copies:
        return [after - 1 for after in [*copies[1:], theirs_count]]
    return [round((place + 1) * theirs_count / count) - 1 for place in range(count)]
