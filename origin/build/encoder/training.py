"""Training: AdamW (https://arxiv.org/abs/1711.05101) over a dict of tensors, its rate up and down in a line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from origin.build.onnx.rows import shuffled_batches
from origin.build.training.steps import adam_state, take_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from origin.build.encoder.forward import Weights
    from origin.build.onnx.rows import Ids, RowBatch
    from origin.build.step import StepWork

_BETAS = (0.9, 0.98)
_EPSILON = 1e-8
_DECAY = 0.01
_NORM_LIMIT = 1.0
_WARM_RATIO = 0.06
_SMOOTHING = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long and how fast.

    Attributes:
        learning_rate: at its highest, after the first 6 % of the steps; falls to nothing in a line.
    """

    steps_count: int
    learning_rate: float

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        warm_count = max(1, math.ceil(self.steps_count * _WARM_RATIO))
        if step < warm_count:
            return self.learning_rate * (step + 1) / warm_count
        return self.learning_rate * (self.steps_count - step) / max(1, self.steps_count - warm_count)


def step_batches(rows: Sequence[Ids], *, seed: int, rows_count: int) -> Callable[[int], RowBatch]:
    """The batch of each step, by its number alone: pass after pass over all rows, each in an order of its own."""
    per_pass_count = -(-len(rows) // rows_count)
    known: dict[int, list[RowBatch]] = {}

    def batch(number: int) -> RowBatch:
        turn, place = divmod(number, per_pass_count)
        if turn not in known:
            known.clear()
            known[turn] = list(
                shuffled_batches(rows, np.random.default_rng([seed, turn]), rows_count=rows_count)
            )
        return known[turn][place]

    return batch


def train(weights: Weights, loss_of: Callable[[int], Tensor], pace: Pace, work: StepWork) -> float:
    """Train the tensors in place, from where a run that was cut left off; the last smoothed loss.

    Args:
        weights: leaves; those that require a gradient are trained.
        loss_of: of a step's number; draws nothing from a generator that lives on between steps.
        pace: how long and how fast.
        work: of the step, for its checkpoints and its progress.

    Raises:
        StepFailedError: the loss is not finite.
    """
    trained = {name: tensor for name, tensor in weights.items() if tensor.requires_grad}
    names = sorted(trained)
    optimizer = torch.optim.AdamW(
        [
            {"params": [trained[name] for name in names if trained[name].ndim > 1], "weight_decay": _DECAY},
            {"params": [trained[name] for name in names if trained[name].ndim <= 1], "weight_decay": 0.0},
        ],
        betas=_BETAS, eps=_EPSILON, fused=True,
    )  # fmt: skip

    def take(step: int) -> float:
        for group in optimizer.param_groups:
            group["lr"] = pace.rate(step)
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(trained.values()), _NORM_LIMIT)
        optimizer.step()
        return float(loss.detach())

    losses = take_steps(
        take,
        adam_state(optimizer, trained),
        steps_count=pace.steps_count,
        smoothing=_SMOOTHING,
        loss_name="loss",
        advice="lower learning_rate",
        checkpoints=work.checkpoints,
        report=work.report,
    )
    return losses.last
