"""Weights: tensors in training: the numbers that an optimizer moves, and the value that the model computes with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from origin.build.gguf.blocks import BLOCK, Blocks

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EDGE = 0.49


@dataclass(frozen=True, slots=True)
class Moved:
    """Numbers that the optimizer moves, and how far in one step at the most, about."""

    numbers: torch.Tensor
    rate: float


class Weight(Protocol):
    """A tensor of the model in training."""

    def moved(self) -> dict[str, Moved]:
        """What is trained of it; nothing of a tensor that stays as it is."""
        ...

    def value(self) -> torch.Tensor:
        """What the model computes with now."""
        ...

    def give(self, value: torch.Tensor, gradient: torch.Tensor) -> None:
        """Write the gradients of `moved` from the gradient of the value, and the value that it was taken at."""
        ...

    def settle(self) -> None:
        """Bring what was moved back to where it means something."""
        ...


class FixedWeight:
    """A tensor that stays as it is."""

    def __init__(self, value: torch.Tensor) -> None:
        self._value = value

    def moved(self) -> dict[str, Moved]:
        """Nothing."""
        return {}

    def value(self) -> torch.Tensor:
        """The tensor."""
        return self._value

    def give(self, value: torch.Tensor, gradient: torch.Tensor) -> None:
        """Forget it."""

    def settle(self) -> None:
        """Nothing moved."""


class PlainWeight:
    """A tensor that is trained as the numbers it has, in float32.

    Args:
        rate: of the root mean square of the tensor, in one step.
    """

    def __init__(self, numbers: torch.Tensor, rate: float, kind: torch.dtype) -> None:
        self._numbers = numbers.float().clone()
        self._kind = kind
        self._rate = rate * float(self._numbers.square().mean().sqrt())

    def moved(self) -> dict[str, Moved]:
        """The numbers."""
        return {"numbers": Moved(self._numbers, self._rate)}

    def value(self) -> torch.Tensor:
        """The numbers in the type that is computed in."""
        return self._numbers.detach().to(self._kind)

    def give(self, value: torch.Tensor, gradient: torch.Tensor) -> None:  # noqa: ARG002 - a plain number's is its own
        """Hand it on."""
        self._numbers.grad = gradient.float()

    def settle(self) -> None:
        """Any number will do."""

    def numbers(self) -> NDArray[np.float32]:
        """What was learned."""
        numbers: NDArray[np.float32] = self._numbers.detach().cpu().numpy()
        return numbers


class CodedWeight:
    """A tensor of a block type, trained so that what the runtime will read is what the loss was taken of.

    Each value is a place between two codes; the model computes with the code that it is nearest to, and the gradient
    goes through the rounding as if it were not there (straight-through, arXiv:1308.3432). Scales and lowest numbers
    are trained too (as in LSQ, arXiv:1902.08153), and take part as the half-precision numbers that blocks keep.

    Args:
        blocks: to start from.
        values: what they were made of, [rows, columns].
        code_rate: of the way from one step of the type's table to the next, in one step of training; 0 keeps codes.
        scale_rate: of a scale, in one step of training.
    """

    def __init__(
        self,
        blocks: Blocks,
        values: NDArray[np.float32],
        *,
        code_rate: float,
        scale_rate: float,
        kind: torch.dtype,
        device: torch.device,
    ) -> None:
        self._kind, self._blocks, self._shape = kind, blocks.kind, values.shape
        self._code_rate, self._scale_rate = code_rate, scale_rate
        steps = blocks.kind.steps
        self._spacing = float(steps[-1] - steps[0]) / (len(steps) - 1)
        self._places = torch.from_numpy(places(blocks, values)).to(device).view(-1, BLOCK)
        self._scales = torch.from_numpy(blocks.scales.astype(np.float32).reshape(-1)).to(device)
        lows = np.zeros(blocks.scales.shape, np.float16) if blocks.lows is None else blocks.lows
        self._lows = torch.from_numpy(lows.astype(np.float32).reshape(-1)).to(device)
        self._growth = torch.zeros_like(self._scales)
        self._shift = torch.zeros_like(self._scales)
        self._steps = torch.from_numpy(steps).to(device)

    def moved(self) -> dict[str, Moved]:
        """Places between codes, growth of scales in parts of them, and shift of lowest numbers in scales."""
        moved = {"scales": Moved(self._growth, self._scale_rate)}
        if self._code_rate:
            moved["places"] = Moved(self._places, self._code_rate)
        if self._blocks.has_low:
            moved["lows"] = Moved(self._shift, self._scale_rate * len(self._steps) / 4)
        return moved

    def value(self) -> torch.Tensor:
        """The values of the blocks that `blocks` would give."""
        with torch.no_grad():
            values = self._stepped() * self._scale()[:, None]
            if self._blocks.has_low:
                values += self._low()[:, None]
            return values.to(self._kind).view(self._shape)

    def give(self, value: torch.Tensor, gradient: torch.Tensor) -> None:
        """By the chain rule, the rounding left out."""
        with torch.no_grad():
            by_value = gradient.view(self._places.shape).float()
            scale = self._scale()
            self._growth.grad = (by_value * value.detach().view(self._places.shape)).sum(1)
            if self._blocks.has_low:
                by_low = by_value.sum(1)
                self._growth.grad -= by_low * self._low()
                self._shift.grad = by_low * self._scales
            if self._code_rate:
                self._places.grad = by_value * (scale[:, None] * self._spacing)

    def settle(self) -> None:
        """Keep places within the codes that there are: beyond the last one no gradient would be felt."""
        with torch.no_grad():
            self._places.clamp_(-_EDGE, len(self._steps) - 1 + _EDGE)

    def blocks(self) -> Blocks:
        """The blocks as they are now."""
        with torch.no_grad():
            rows = self._shape[0]
            low = self._low().half().view(rows, -1).cpu().numpy() if self._blocks.has_low else None
            return Blocks(
                self._blocks,
                self._scale().half().view(rows, -1).cpu().numpy(),
                low,
                self._places.round().to(torch.uint8).view(self._shape).cpu().numpy(),
            )

    def _stepped(self) -> torch.Tensor:
        nearest = self._places.round()
        if self._spacing == 1:
            return nearest.add_(self._steps[0])
        return torch.index_select(self._steps, 0, nearest.to(torch.int32).view(-1)).view(nearest.shape)

    def _scale(self) -> torch.Tensor:
        return (self._scales * self._growth.exp()).half().float()

    def _low(self) -> torch.Tensor:
        return (self._lows + self._scales * self._shift).half().float()


def places(blocks: Blocks, values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Where these values lie between the codes of their blocks: 3.25 is a quarter of the way from code 3 to 4.

    Each stays within the cell of its own code, so that rounding gives the codes that the blocks have: of a value
    that another code is nearer to, because the codes were chosen with their errors in mind, the edge is given.
    """
    steps = blocks.kind.steps
    rows = len(values)
    scales = np.where(blocks.scales == 0, np.float16(1), blocks.scales).astype(np.float32)[..., None]
    lows = np.zeros_like(blocks.scales) if blocks.lows is None else blocks.lows
    above = values.reshape(rows, -1, BLOCK) - lows.astype(np.float32)[..., None]
    stepped = (above / scales).reshape(values.shape)
    between = np.interp(stepped, steps, np.arange(len(steps), dtype=np.float32)).astype(np.float32)
    middle = blocks.codes.astype(np.float32)
    near: NDArray[np.float32] = np.clip(between, middle - np.float32(_EDGE), middle + np.float32(_EDGE))
    return near
