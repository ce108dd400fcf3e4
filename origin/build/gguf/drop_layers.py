"""The operation `drop_layers`: a model with fewer layers, those gone that change the least.

Candidates are ranked by block influence (Men et al., "ShortGPT", 2024). With texts to judge on, the layer whose
absence costs the least KL divergence goes first, then the next is chosen among the rest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from origin.build.gguf.importance import read_influence
from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.trial import open_trial
from origin.build.gguf.writing import edited_fields, kept, write_model
from origin.build.step import StepProgress
from origin.errors import RecipeInvalidError, StepFailedError
from registry.formats.gguf import TYPE_ARRAY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from numpy.typing import NDArray

    from origin.build.gguf.trial import Trial
    from origin.build.gguf_steps import DropLayers
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 1
BLOCK_NAME = re.compile(r"blk\.(\d+)\.(.+)")
_PARTS_OUT = ("attn_output.weight", "ffn_down.weight")
"""What a layer adds to its input comes out of these; with zeros in them it is as if it were not there."""


def check_words(step: DropLayers) -> None:
    """Refuse what says two things, or too little to choose by. Raises RecipeInvalidError."""
    if bool(step.layers) == bool(step.count):
        raise RecipeInvalidError(f"step {step.id}: give either count or layers", param="count")
    if step.count and not (step.importance or step.data):
        raise RecipeInvalidError(
            f"step {step.id}: to choose layers, give importance (an importance step) or data (texts to judge on)",
            param="importance",
        )


def check(step: DropLayers, source: Artifact) -> None:
    """Refuse that, and to drop layers that are not there, or all of them. Raises RecipeInvalidError."""
    check_words(step)
    layers = ModelFile(source.model_file).layers_count
    unknown = sorted(layer for layer in step.layers if layer >= layers)
    if unknown:
        raise RecipeInvalidError(
            f"step {step.id}: layer {unknown[0]} is not one of 0 to {layers - 1}", param="layers"
        )
    if max(step.count, len(set(step.layers))) >= layers:
        raise RecipeInvalidError(
            f"step {step.id}: a model of {layers} layers cannot lose {max(step.count, len(step.layers))}",
            param="count",
        )


def run(step: DropLayers, work: StepWork) -> Mapping[str, Fact]:
    """Choose, and write what is left."""
    path = work.inputs["source"].model_file
    facts: dict[str, Fact] = {}
    if step.layers:
        gone = sorted(set(step.layers))
    elif step.data:
        gone, cost = _by_divergence(step, work, path)
        facts["kl"] = round(cost, 6)
    else:
        influence = read_influence(work.inputs["importance"])
        gone = sorted(int(layer) for layer in np.argsort(influence, kind="stable")[: step.count])
    without_layers(path, work.directory / "model.gguf", frozenset(gone))
    work.report(StepProgress(done=1, total=1, unit="models"))
    return {"dropped": list(gone), **facts}


def without_layers(source: Path, target: Path, gone: frozenset[int]) -> None:
    """Write the model of `source` without these layers; the others move up."""
    model = ModelFile(source)
    left = [layer for layer in range(model.layers_count) if layer not in gone]
    place = {str(old): new for new, old in enumerate(left)}
    changes: dict[str, Any] = {f"{model.architecture}.block_count": len(left)}
    for field in model.header.kvs:
        # Some architectures give heads or widths layer by layer.
        if field.type == TYPE_ARRAY and field.key.startswith(f"{model.architecture}."):
            values = model.array(field.key)
            if len(values) == model.layers_count:
                changes[field.key] = [values[layer] for layer in left]
    tensors = []
    for tensor in model:
        parts = BLOCK_NAME.fullmatch(tensor.name)
        if parts is None:
            tensors.append(kept(model, tensor.name))
        elif parts[1] in place:
            tensors.append(kept(model, tensor.name, f"blk.{place[parts[1]]}.{parts[2]}"))
    write_model(target, edited_fields(model, changes), tensors)


def _by_divergence(step: DropLayers, work: StepWork, path: Path) -> tuple[list[int], float]:
    model = ModelFile(path)
    layers = list(range(model.layers_count))
    if step.importance:
        influence = read_influence(work.inputs["importance"])
        layers = [
            int(layer) for layer in np.argsort(influence, kind="stable")[: max(step.candidates, step.count)]
        ]
    total = sum(len(layers) - round_ for round_ in range(step.count))
    gone: list[int] = []
    cost, done = 0.0, 0
    with open_trial(
        path, work.texts["data"].texts, limit_tokens=step.tokens, threads_count=work.threads_count
    ) as trial:
        for _ in range(step.count):
            costs = {}
            for layer in layers:
                if layer not in gone:
                    costs[layer] = _cost(trial, model, [*gone, layer])
                    done += 1
                    note = f"without {layer}: KL {costs[layer]:.4f}"
                    work.report(StepProgress(done=done, total=total, unit="trials", note=note))
            least = min(costs, key=lambda layer: (costs[layer], layer))
            gone.append(least)
            cost = costs[least]
    return sorted(gone), cost


def _cost(trial: Trial, model: ModelFile, gone: list[int]) -> float:
    """The divergence of the model in which these layers add nothing."""
    silent: dict[str, NDArray[np.float32]] = {}
    for name in (f"blk.{layer}.{part}" for layer in gone for part in _PARTS_OUT):
        if name not in model:
            raise StepFailedError(
                f"cannot try the model without a layer: it has no {name}; choose by importance alone"
            )
        silent[name] = np.zeros(tuple(reversed(model.tensors[name].dimensions)), np.float32)
    with trial.changed(silent):
        return trial.divergence()
