"""Training: a student's weights are moved until its next-token distribution is its teacher's, on rows of text."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from origin.build.llama.divergence import divergence
from origin.build.llama.forward import hidden_states
from origin.build.training.steps import adam_state, take_steps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from origin.build.llama.shape import LlamaShape
    from origin.build.llama.weights import Moved, Weight
    from origin.build.step import StepProgress

_WARMING_STEPS_COUNT = 5
_BETAS = (0.9, 0.98)
_SMOOTHING = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """What the student is to give: tensors in the type to compute in."""

    weights: Mapping[str, torch.Tensor]
    shape: LlamaShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Lessons:
    """How training goes.

    Attributes:
        rows: tokens; as many rows a step as fit `steps_count` steps evenly.
        layers_of_teacher: for each layer of the student the one of the teacher whose output it should have.
        hidden_share: weight of the distance between those outputs next to the divergence; 0 leaves it out.
    """

    rows: NDArray[np.int64]
    steps_count: int
    hidden_share: float = 0.0
    layers_of_teacher: Sequence[int] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What came of it: mean divergence in nats a token in the first step and over the last few; 0 where none was."""

    first: float
    last: float
    tokens_count: int


def train(
    student: Mapping[str, Weight],
    shape: LlamaShape,
    teacher: Teacher,
    lessons: Lessons,
    *,
    checkpoints: Path,
    report: Callable[[StepProgress], None],
    clock: Callable[[], float] = time.monotonic,
) -> Learned:
    """Train in place, from the last checkpoint if there is one.

    Adam (arXiv:1412.6980) with a short warming and a cosine down to a hundredth of each rate.

    Raises:
        StepFailedError: the loss is no longer a number.
    """
    moved = {
        f"{name}/{part}": one for name, weight in student.items() for part, one in weight.moved().items()
    }
    optimizer = _optimizer(moved)
    rows_a_step = len(lessons.rows) // max(1, lessons.steps_count)

    def take(step: int) -> float:
        rows = torch.from_numpy(lessons.rows[step * rows_a_step : (step + 1) * rows_a_step])
        loss = _gradients(student, shape, teacher, lessons, rows)
        for group in optimizer.param_groups:
            group["lr"] = group["full"] * _share(step, lessons.steps_count)
        optimizer.step()
        for weight in student.values():
            weight.settle()
        return loss

    losses = take_steps(
        take,
        adam_state(optimizer, {name: one.numbers for name, one in moved.items()}),
        steps_count=lessons.steps_count,
        smoothing=_SMOOTHING,
        loss_name="KL",
        advice="give lower rates",
        checkpoints=checkpoints,
        report=report,
        clock=clock,
    )
    tokens_count = rows_a_step * lessons.steps_count * lessons.rows.shape[1]
    return Learned(first=losses.first, last=losses.last, tokens_count=tokens_count)


def _gradients(
    student: Mapping[str, Weight],
    shape: LlamaShape,
    teacher: Teacher,
    lessons: Lessons,
    rows: torch.Tensor,
) -> float:
    """Hand every weight its gradient; the divergence."""
    values = {}
    for name, weight in student.items():
        values[name] = weight.value().requires_grad_(bool(weight.moved()))
    device = values[shape.output].device
    rows = rows.to(device)
    with torch.no_grad():
        their_states, their_hidden = hidden_states(teacher.weights, teacher.shape, rows)
    states, hidden = hidden_states(values, shape, rows)
    output = values[shape.output]
    apart = divergence(
        hidden.detach().flatten(0, 1),
        output.detach(),
        their_hidden.flatten(0, 1),
        teacher.weights[teacher.shape.output],
        output_trained=output.requires_grad,
    )
    ends, gradients = [hidden], [apart.by_hidden.view(hidden.shape)]
    if lessons.hidden_share:
        far = _distance(states[1:], [their_states[layer + 1] for layer in lessons.layers_of_teacher])
        ends.append(far)
        gradients.append(torch.full_like(far, lessons.hidden_share))
    torch.autograd.backward(ends, gradients)
    for name, weight in student.items():
        gradient = values[name].grad
        if name == shape.output and apart.by_output is not None:
            gradient = apart.by_output if gradient is None else apart.by_output.add_(gradient)
        if gradient is not None:
            weight.give(values[name], gradient)
        values[name].grad = None
    return apart.mean


def _distance(own: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Mean over the layers of the squared distance, in parts of the teacher's own square."""
    parts = [
        (mine - other).square().mean() / other.square().mean()
        for mine, other in zip(own, theirs, strict=True)
    ]
    return torch.stack(parts).mean()


def _share(step: int, steps_count: int) -> float:
    warm = min(1.0, (step + 1) / _WARMING_STEPS_COUNT)
    return warm * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps_count)))


def _optimizer(moved: Mapping[str, Moved]) -> torch.optim.Optimizer:
    groups = [{"params": [one.numbers], "lr": one.rate, "full": one.rate} for one in moved.values()]
    return torch.optim.Adam(groups, betas=_BETAS, eps=1e-12, fused=True)
