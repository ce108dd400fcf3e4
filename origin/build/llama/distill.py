"""Distill: a model of the llama family learns to say what its teacher says."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.writing import edited_fields, plain, write_model
from origin.build.llama.opening import check_pair, choose_machine, open_teacher, rows_for
from origin.build.llama.shape import read_shape
from origin.build.llama.training import Lessons, train
from origin.build.llama.weights import PlainWeight
from origin.errors import RecipeInvalidError, StepFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from origin.build.llama.shape import LlamaShape
    from origin.build.llama_steps import Distill
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 1
_LARGEST = float(np.finfo(np.float16).max)


def check(step: Distill, source: Artifact) -> None:
    """Refuse what cannot be taught.

    Raises:
        RecipeInvalidError: no model of the llama family, or layers that it has not.
    """
    _chosen_layers(step, read_shape(ModelFile(source.model_file)))


def run(step: Distill, work: StepWork) -> Mapping[str, Fact]:
    """Train, and write a file of F16 matrices."""
    device, kind = choose_machine(work.threads_count)
    model = ModelFile(work.inputs["source"].model_file)
    layers = _chosen_layers(step, read_shape(model))
    shape = replace(read_shape(model), layers_count=len(layers))
    named = {name: _name_in_source(name, layers) for name in shape.tensor_names}
    teacher = open_teacher(work.inputs["teacher"].model_file, device, kind)
    check_pair(shape, teacher.shape)
    if step.hidden_share and shape.width != teacher.shape.width:
        raise RecipeInvalidError(
            "layers of another width than the teacher's cannot be compared", param="hidden_share"
        )
    student = {
        name: PlainWeight(
            torch.from_numpy(model.values(old)).to(device),
            step.rate,
            torch.float32 if len(model.tensors[old].dimensions) == 1 else kind,
        )
        for name, old in named.items()
    }
    lessons = Lessons(
        rows=rows_for(step, work),
        steps_count=step.steps_count,
        hidden_share=step.hidden_share,
        layers_of_teacher=_layers_of_teacher(model, layers, ModelFile(work.inputs["teacher"].model_file)),
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
    return {
        "tokens_count": learned.tokens_count,
        "kl_first": round(learned.first, 6),
        "kl_last": round(learned.last, 6),
        "computed_in": str(kind).removeprefix("torch."),
        "device": device.type,
    }


def _chosen_layers(step: Distill, shape: LlamaShape) -> tuple[int, ...]:
    layers = step.layers or tuple(range(shape.layers_count))
    if list(layers) != sorted(set(layers)):
        raise RecipeInvalidError("layers are named once each, in their order", param="layers")
    if layers[0] < 0 or layers[-1] >= shape.layers_count:
        raise RecipeInvalidError(
            f"the model has the layers 0 to {shape.layers_count - 1}, and {layers[-1]} is asked for",
            param="layers",
        )
    return layers


def _name_in_source(name: str, layers: Sequence[int]) -> str:
    if not name.startswith("blk."):
        return name
    _, number, rest = name.split(".", 2)
    return f"blk.{layers[int(number)]}.{rest}"


def _layers_of_teacher(student: ModelFile, layers: Sequence[int], teacher: ModelFile) -> list[int]:
    """For each layer the one of the teacher that it should be in the place of: the last before the next one's.

    A layer that was copied is told by its attention norm, which pruning leaves alone. What a dropped layer did is
    then asked of the one before it. Layers that are no copies are spread evenly.
    """
    theirs = [teacher.values(f"blk.{layer}.attn_norm.weight") for layer in range(teacher.layers_count)]
    found: list[int] = []
    for layer in layers:
        own: NDArray[np.float32] = student.values(f"blk.{layer}.attn_norm.weight")
        distances = [
            float(np.square(own - one).sum()) if own.shape == one.shape else np.inf for one in theirs
        ]
        found.append(int(np.argmin(distances)))
    if found != sorted(set(found)):
        count = len(layers)
        return [round((place + 1) * len(theirs) / count) - 1 for place in range(count)]
    return [after - 1 for after in [*found[1:], len(theirs)]]
