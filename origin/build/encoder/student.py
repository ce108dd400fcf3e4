"""A checkpoint as tensors that learn, and back again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import torch

from origin.build.onnx.checkpoint import Checkpoint, expected_shapes, layer_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from origin.build.encoder.forward import Weights
    from origin.build.onnx.checkpoint import Floats, Tensors


def to_weights(checkpoint: Checkpoint, device: torch.device, *, learns: bool) -> Weights:
    """The checkpoint's tensors on a device, copies of their own."""
    return {
        name: torch.from_numpy(values.copy()).to(device).requires_grad_(learns)
        for name, values in checkpoint.tensors.items()
    }


def from_weights(checkpoint: Checkpoint, weights: Weights) -> Checkpoint:
    """The checkpoint with what its tensors became."""
    tensors: Tensors = {name: _array(tensor) for name, tensor in weights.items()}
    return Checkpoint(
        checkpoint.config, checkpoint.settings, tensors, checkpoint.directory, checkpoint.pooling
    )


def with_layers(checkpoint: Checkpoint, keep: Sequence[int]) -> Checkpoint:
    """The checkpoint with these layers alone, in this order."""
    config = msgspec.structs.replace(checkpoint.config, num_hidden_layers=len(keep))
    tensors: Tensors = {}
    for name in expected_shapes(config):
        tensors[name] = checkpoint.tensors[_name_before(name, keep)]
    return Checkpoint(config, checkpoint.settings, tensors, checkpoint.directory, checkpoint.pooling)


def _name_before(name: str, keep: Sequence[int]) -> str:
    for after, before in enumerate(keep):
        start = layer_name(after, "")
        if name.startswith(start):
            return layer_name(before, "") + name.removeprefix(start)
    return name


def _array(tensor: torch.Tensor) -> Floats:
    values: Floats = tensor.detach().float().cpu().numpy()
    return values
