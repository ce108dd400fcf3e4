"""Rounding that learns: matrices as codes and scales of a grid, with a gradient through both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from origin.build.onnx.blocks import Blocks, round_blocks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from origin.build.encoder.forward import Weights
    from origin.build.onnx.blocks import Grid

_GROWTH = ".scale_growth"


class GridWeights:
    """Some of a model's matrices on a grid.

    Attributes:
        leaves: all that learns: the model's tensors, and of each scale the logarithm of its growth.
    """

    def __init__(self, weights: Weights, names: Sequence[str], grid: Grid) -> None:
        self._grid = grid
        self._names = tuple(names)
        self._first: Weights = {}
        self.leaves: Weights = dict(weights)
        for name in names:
            device = weights[name].device
            scales = torch.from_numpy(round_blocks(weights[name].detach().cpu().numpy(), grid).scales).to(
                device
            )
            self._first[name] = scales
            self.leaves[name + _GROWTH] = torch.zeros_like(scales).requires_grad_()

    def rounded(self) -> Weights:
        """The model's tensors, those matrices as the kernels will see them."""
        return {
            name: self._on_grid(name) if name in self._first else tensor
            for name, tensor in self.leaves.items()
            if not name.endswith(_GROWTH)
        }

    def blocks(self, name: str) -> Blocks:
        """What is to be served of a matrix."""
        with torch.no_grad():
            # What went straight through is off by an ulp; the numbers themselves are not.
            scales = self._scales(name).to(torch.bfloat16).float()
            codes = torch.round(self._codes(name, scales))
        return Blocks(codes.to(torch.int8).flatten(1).cpu().numpy(), scales.cpu().numpy(), self._grid)

    def _on_grid(self, name: str) -> Tensor:
        scales = self._scales(name)
        codes = self._codes(name, scales)
        return (codes * scales[:, :, None]).flatten(1)

    def _codes(self, name: str, scales: Tensor) -> Tensor:
        weight = self.leaves[name].unflatten(1, (-1, self._grid.block_count))
        exact = torch.clamp(weight / _not_zero(scales)[:, :, None], self._grid.least, self._grid.most)
        return _straight_through(exact, torch.round(exact))

    def _scales(self, name: str) -> Tensor:
        exact = self._first[name] * torch.exp(self.leaves[name + _GROWTH])
        return _straight_through(exact, exact.to(torch.bfloat16).to(exact.dtype))


def rounded_inputs(values: Tensor, block_count: int) -> Tensor:
    """Inputs as MatMulNBits rounds them: each row by itself, block by block, to 8 bits."""
    blocks = values.unflatten(-1, (-1, block_count))
    with torch.no_grad():
        scales = _not_zero(blocks.abs().amax(-1, keepdim=True) / 127)
        rounded = torch.round(blocks / scales) * scales
    return _straight_through(blocks, rounded).flatten(-2)


def _not_zero(scales: Tensor) -> Tensor:
    return torch.where(scales == 0, torch.ones_like(scales), scales)


def _straight_through(exact: Tensor, rounded: Tensor) -> Tensor:
    return exact + (rounded - exact).detach()
