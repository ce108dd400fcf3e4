"""Narrow the feed-forward layers: the neurons that carry most of a layer's output stay (https://arxiv.org/abs/2407.14679).

A neuron carries the mean square of what it gives, on texts, times the square of its outgoing weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import torch

from origin.build.encoder.forward import encode
from origin.build.encoder.student import to_weights
from origin.build.onnx import checkpoint as names
from origin.build.onnx.checkpoint import Checkpoint, layer_name, read_checkpoint, write_checkpoint
from origin.build.onnx.rows import in_batches, sample_rows
from origin.build.training.machine import choose_machine
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from origin.build.encoder_steps import NarrowEncoderFfn
    from origin.build.onnx.checkpoint import Floats
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 1
_MULTIPLE_COUNT = 32


def check(step: NarrowEncoderFfn, source: Artifact) -> None:
    """Refuse a width that the model has not, or that no block fits. Raises RecipeInvalidError."""
    inner_count = read_checkpoint(source.directory).config.intermediate_size
    if not step.inner_count < inner_count or step.inner_count % _MULTIPLE_COUNT:
        raise RecipeInvalidError(
            f"step {step.id}: inner_count = {step.inner_count} is no multiple of {_MULTIPLE_COUNT} below the model's "
            f"{inner_count}"
        )


def run(step: NarrowEncoderFfn, work: StepWork) -> Mapping[str, Fact]:
    """Write the narrower encoder."""
    checkpoint = read_checkpoint(work.inputs["source"].directory)
    squares = neuron_squares(checkpoint, work.texts["data"].texts, threads_count=work.threads_count)
    tensors = dict(checkpoint.tensors)
    kept_shares: list[Fact] = []
    for index, square in enumerate(squares):
        raised, lowered = layer_name(index, names.RAISED), layer_name(index, names.LOWERED)
        carried = square * np.square(tensors[f"{lowered}.weight"]).sum(axis=0)
        keep = np.sort(np.argsort(-carried, kind="stable")[: step.inner_count])
        kept_shares.append(round(float(carried[keep].sum() / carried.sum()), 5))
        tensors[f"{raised}.weight"] = tensors[f"{raised}.weight"][keep]
        tensors[f"{raised}.bias"] = tensors[f"{raised}.bias"][keep]
        tensors[f"{lowered}.weight"] = tensors[f"{lowered}.weight"][:, keep]
    config = msgspec.structs.replace(checkpoint.config, intermediate_size=step.inner_count)
    narrow = Checkpoint(config, checkpoint.settings, tensors, checkpoint.directory, checkpoint.pooling)
    write_checkpoint(narrow, work.directory)
    return {"kept_shares": kept_shares}


def neuron_squares(checkpoint: Checkpoint, texts: Sequence[str], *, threads_count: int) -> list[Floats]:
    """Of each layer the mean square of what each of its inner neurons gives."""
    device, _ = choose_machine(threads_count)
    weights = to_weights(checkpoint, device, learns=False)
    rows = sample_rows(checkpoint.directory, texts)
    sums: dict[str, Tensor] = {}

    def watch(name: str, values: Tensor) -> Tensor:
        if name.endswith(names.LOWERED) and names.ATTENDED not in name:
            counted = values[mask]
            sums[name] = sums.get(name, torch.zeros(())) + counted.float().square().sum(0)
        return values

    tokens_count = 0
    with torch.inference_mode():
        for batch in in_batches(rows, batch_tokens=2048):
            mask = torch.from_numpy(batch.mask).bool()
            tokens_count += int(mask.sum())
            encode(checkpoint.config, weights, batch, watch=watch)
    return [
        (sums[layer_name(index, names.LOWERED)] / tokens_count).cpu().numpy()
        for index in range(checkpoint.config.num_hidden_layers)
    ]
