"""Training: AdamW over a dict of tensors, its place kept on disk so that it goes on bit for bit where it was cut.

What a step computes depends on its number alone (`loss_of`), so the place is the number, the tensors and the two
moments of AdamW (https://arxiv.org/abs/1711.05101).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from origin.build.onnx.rows import shuffled_batches
from origin.build.step import StepProgress
from origin.errors import StepFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import Tensor

    from origin.build.encoder.forward import Weights
    from origin.build.onnx.rows import Ids, RowBatch
    from origin.build.step import StepWork

_BETAS = (0.9, 0.98)
_EPSILON = 1e-8
_DECAY = 0.01
_NORM_LIMIT = 1.0
_WARM_RATIO = 0.06
KEEP_EVERY_S = 120.0
_SMOOTH_RATIO = 0.95
_FILE = "training.safetensors"


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


def device_of(*, threads_count: int) -> torch.device:
    """A GPU where there is one; else the processor, with so many threads."""
    torch.set_num_threads(max(1, threads_count))
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fast_matrices(device: torch.device) -> torch.dtype:
    """bfloat16 where hardware multiplies it; single precision elsewhere, where it would be slower."""
    if device.type == "cuda":
        return torch.bfloat16
    able = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return torch.bfloat16 if able is not None and able() else torch.float32


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
    file = work.checkpoints / _FILE
    first, smooth = _take_up(file, trained, optimizer)
    kept_s = time.monotonic()
    for step in range(first, pace.steps_count):
        for group in optimizer.param_groups:
            group["lr"] = pace.rate(step)
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(step)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(trained.values()), _NORM_LIMIT)
        optimizer.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise StepFailedError(f"the loss is {value} at step {step}; lower learning_rate")
        smooth = value if step == 0 else _SMOOTH_RATIO * smooth + (1 - _SMOOTH_RATIO) * value
        work.report(
            StepProgress(done=step + 1, total=pace.steps_count, unit="steps", note=f"loss {smooth:.5f}")
        )
        if time.monotonic() - kept_s > KEEP_EVERY_S:
            _keep(file, trained, optimizer, step + 1, smooth)
            kept_s = time.monotonic()
    return smooth


def _keep(file: Path, trained: Weights, optimizer: torch.optim.Optimizer, done: int, smooth: float) -> None:
    tensors: Weights = {}
    for name, tensor in trained.items():
        moments = optimizer.state[tensor]
        tensors[f"weight.{name}"] = tensor.detach()
        tensors[f"first.{name}"], tensors[f"second.{name}"] = moments["exp_avg"], moments["exp_avg_sq"]
    part = file.with_suffix(".part")
    save_file(tensors, str(part), metadata={"done": str(done), "smooth": smooth.hex()})
    part.replace(file)


def _take_up(file: Path, trained: Weights, optimizer: torch.optim.Optimizer) -> tuple[int, float]:
    if not file.is_file():
        return 0, 0.0
    try:
        with safe_open(str(file), framework="pt") as kept, torch.no_grad():
            said = kept.metadata()
            done, smooth = int(said["done"]), float.fromhex(said["smooth"])
            for name, tensor in trained.items():
                tensor.copy_(kept.get_tensor(f"weight.{name}"))
                optimizer.state[tensor] = {
                    "step": torch.tensor(float(done), device=tensor.device),
                    "exp_avg": kept.get_tensor(f"first.{name}").to(tensor.device),
                    "exp_avg_sq": kept.get_tensor(f"second.{name}").to(tensor.device),
                }
    except (SafetensorError, KeyError, ValueError) as error:
        raise StepFailedError(
            f"the training cannot go on from {file}: {error}; build with --clean"
        ) from error
    return done, smooth
