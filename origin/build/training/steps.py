"""Steps: training one step after the other, its place kept on disk so that it goes on bit for bit where it was cut.

What a step does depends on its number and on the numbers that are trained alone, so the place is these.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from origin.build.step import StepProgress
from origin.build.training.keeping import keep, kept
from origin.errors import StepFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_KEEP_EVERY_S = 120.0
_KEEP_SHARE = 0.05
"""Keeping takes at most this share of the time: of a large model it is gigabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """That of the first step, and a running mean that ends with the last; 0 where no step was taken."""

    first: float
    last: float


def adam_state(
    optimizer: torch.optim.Optimizer, trained: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """All numbers that training with Adam changes, by name; its own are made here, not at its first step."""
    state = {}
    for name, numbers in trained.items():
        own = optimizer.state[numbers]
        own["step"] = torch.zeros((), dtype=torch.float32, device=numbers.device)
        own["exp_avg"] = torch.zeros_like(numbers)
        own["exp_avg_sq"] = torch.zeros_like(numbers)
        state[name] = numbers
        state |= {f"{name}/{part}": own[part] for part in ("step", "exp_avg", "exp_avg_sq")}
    return state


def take_steps(
    take: Callable[[int], float],
    state: Mapping[str, torch.Tensor],
    *,
    steps_count: int,
    smoothing: float,
    loss_name: str,
    advice: str,
    checkpoints: Path,
    report: Callable[[StepProgress], None],
    clock: Callable[[], float] = time.monotonic,
) -> Losses:
    """Take all steps, from the last checkpoint on if there is one.

    Args:
        take: moves the numbers of `state` by the step of this number, and gives the loss that it began with. Draws
            nothing from a generator that lives on between steps.
        state: all numbers that a step changes.
        steps_count: how many steps there are.
        smoothing: how much of the running mean stays at each step.
        loss_name: what the loss is called in progress.
        advice: what to do where the loss is no number.
        checkpoints: the step's directory for them.
        report: hears of each step.
        clock: seconds.

    Raises:
        StepFailedError: the loss is no longer a number.
    """
    done_count, notes = kept(checkpoints, state)
    first, last = float(notes.get("first", 0)), float(notes.get("last", 0))
    kept_s, every_s = clock(), _KEEP_EVERY_S
    for step in range(done_count, steps_count):
        loss = take(step)
        if not math.isfinite(loss):
            raise StepFailedError(f"after {step} of {steps_count} steps the loss is {loss}; {advice}")
        first = first if step else loss
        last = smoothing * last + (1 - smoothing) * loss if step else loss
        report(StepProgress(done=step + 1, total=steps_count, unit="steps", note=f"{loss_name} {last:.5f}"))
        if clock() - kept_s > every_s and step + 1 < steps_count:
            began_s = clock()
            keep(checkpoints, step + 1, state, {"first": repr(first), "last": repr(last)})
            kept_s = clock()
            every_s = max(_KEEP_EVERY_S, (kept_s - began_s) / _KEEP_SHARE)
    return Losses(first=first, last=last)
