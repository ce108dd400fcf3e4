"""The operation `narrow_ffn`: feed-forward layers of fewer neurons, those gone that add the least.

What a neuron adds to the output is its activation times its column of `ffn_down`; its importance is the mean square
of the one times the square sum of the other (as Minitron ranks neurons by activations: Muralidharan et al., "Compact
Language Models via Pruning and Knowledge Distillation", 2024). llama.cpp wants one width for all layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from origin.build.gguf.importance import read_importance
from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.unquantized import refuse_quantized
from origin.build.gguf.writing import NewTensor, edited_fields, kept, plain, write_model
from origin.build.step import StepProgress
from origin.errors import RecipeInvalidError, StepFailedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from origin.build.gguf_steps import NarrowFfn
    from origin.build.step import Artifact, Fact, StepWork
    from registry.formats.gguf import GgufTensor

VERSION = 1
_MULTIPLE = 32


def check(step: NarrowFfn, source: Artifact) -> None:
    """Refuse a width that is none, and models whose neurons cannot be told apart.

    Raises:
        RecipeInvalidError: with what is wrong.
    """
    model = ModelFile(source.model_file)
    down = model.tensors.get("blk.0.ffn_down.weight")
    if down is None or "blk.0.ffn_up.weight" not in model:
        raise RecipeInvalidError(
            f"step {step.id}: a {model.architecture} model has no ffn_up and ffn_down to make narrower",
            param="from",
        )
    if step.width >= down.dimensions[0] or step.width % _MULTIPLE:
        raise RecipeInvalidError(
            f"step {step.id}: width {step.width} is not a multiple of {_MULTIPLE} below {down.dimensions[0]}",
            param="width",
        )
    refuse_quantized(step.id, [down])


def run(step: NarrowFfn, work: StepWork) -> Mapping[str, Fact]:
    """Rank the neurons of each layer, and write the model with the best `width` of each."""
    model = ModelFile(work.inputs["source"].model_file)
    importance = read_importance(work.inputs["importance"])
    neurons = {layer: _best(model, importance, layer, step.width) for layer in range(model.layers_count)}
    write_model(
        work.directory / "model.gguf",
        edited_fields(model, {f"{model.architecture}.feed_forward_length": step.width}),
        [_narrowed(model, tensor, neurons, step.width) for tensor in model],
        wrote=lambda done, total: work.report(StepProgress(done=done, total=total, unit="tensors")),
    )
    return {"width": step.width, "kept_power": [round(share, 6) for _, share in neurons.values()]}


def _best(
    model: ModelFile, importance: dict[str, NDArray[np.float32]], layer: int, width: int
) -> tuple[NDArray[np.intp], float]:
    """The neurons to keep, in their order, and their share of what all add."""
    name = f"blk.{layer}.ffn_down.weight"
    if name not in importance:
        raise StepFailedError(f"the importance file says nothing of {name}; measure it on this model")
    power = importance[name] * np.square(model.values(name)).sum(axis=0)
    chosen = np.sort(np.argsort(-power, kind="stable")[:width])
    return chosen, float(power[chosen].sum() / max(float(power.sum()), 1e-30))


def _narrowed(
    model: ModelFile, tensor: GgufTensor, neurons: dict[int, tuple[NDArray[np.intp], float]], width: int
) -> NewTensor:
    parts = tensor.name.split(".")
    if parts[0] != "blk" or parts[2] not in {"ffn_up", "ffn_gate", "ffn_down"}:
        return kept(model, tensor.name)
    chosen = neurons[int(parts[1])][0]
    if parts[3] == "bias":
        if parts[2] == "ffn_down":
            return kept(model, tensor.name)
        return plain(tensor.name, (width,), lambda: model.values(tensor.name)[chosen])
    columns, rows = tensor.dimensions
    if parts[2] == "ffn_down":
        return plain(tensor.name, (rows, width), lambda: model.values(tensor.name)[:, chosen])
    return plain(tensor.name, (width, columns), lambda: model.values(tensor.name)[chosen])
