"""Drop layers: those that are left are named, or are those that change their input most.

Block influence is 1 - the mean cosine of a token's vector before and after a layer (ShortGPT,
https://arxiv.org/abs/2403.03853).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from origin.build.encoder.forward import encode
from origin.build.encoder.student import to_weights, with_layers
from origin.build.onnx.checkpoint import read_checkpoint, write_checkpoint
from origin.build.onnx.rows import in_batches, sample_rows
from origin.build.training.machine import choose_machine
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from origin.build.encoder_steps import DropEncoderLayers
    from origin.build.onnx.checkpoint import Checkpoint
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 1


def check(step: DropEncoderLayers, source: Artifact) -> None:
    """Refuse layers that the model has not. Raises RecipeInvalidError."""
    _check_layers(step, read_checkpoint(source.directory).config.num_hidden_layers)


def run(step: DropEncoderLayers, work: StepWork) -> Mapping[str, Fact]:
    """Write the encoder with fewer layers."""
    checkpoint = read_checkpoint(work.inputs["source"].directory)
    layers_count = checkpoint.config.num_hidden_layers
    _check_layers(step, layers_count)
    facts: dict[str, Fact] = {}
    keep: Sequence[int] = step.keep
    if step.drop_count:
        influences = block_influences(checkpoint, work.texts["data"].texts, threads_count=work.threads_count)
        dropped = sorted(range(layers_count), key=influences.__getitem__)[: step.drop_count]
        keep = [index for index in range(layers_count) if index not in dropped]
        facts["influences"] = [round(influence, 5) for influence in influences]
    write_checkpoint(with_layers(checkpoint, keep), work.directory)
    return {**facts, "kept": [int(index) for index in keep]}


def block_influences(checkpoint: Checkpoint, texts: Sequence[str], *, threads_count: int) -> list[float]:
    """How much each layer turns the token vectors of these texts: 0 is not at all."""
    device, _ = choose_machine(threads_count)
    weights = to_weights(checkpoint, device, learns=False)
    rows = sample_rows(checkpoint.directory, texts)
    sums = [0.0] * checkpoint.config.num_hidden_layers
    tokens_count = 0.0
    with torch.inference_mode():
        for batch in in_batches(rows, batch_tokens=2048):
            encoded = encode(checkpoint.config, weights, batch)
            tokens_count += float(encoded.mask.sum())
            for index, (before, after) in enumerate(zip(encoded.hidden, encoded.hidden[1:], strict=False)):
                alike = functional.cosine_similarity(before, after, dim=2)
                sums[index] += float(((1 - alike) * encoded.mask).sum())
    return [total / tokens_count for total in sums]


def _check_layers(step: DropEncoderLayers, layers_count: int) -> None:
    if bool(step.keep) == bool(step.drop_count):
        raise RecipeInvalidError(f"step {step.id} needs either keep or drop_count")
    if step.drop_count and not 0 < step.drop_count < layers_count:
        raise RecipeInvalidError(f"step {step.id} drops {step.drop_count} of {layers_count} layers")
    if step.drop_count and not step.data:
        raise RecipeInvalidError(f"step {step.id} chooses by texts; name them as data")
    wrong = [index for index in step.keep if not 0 <= index < layers_count]
    if wrong or list(step.keep) != sorted(set(step.keep)):
        raise RecipeInvalidError(
            f"step {step.id} keeps {list(step.keep)}; the model has layers 0 to {layers_count - 1}, each once, in order"
        )
