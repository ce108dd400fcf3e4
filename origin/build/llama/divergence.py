"""Divergence: how far the student's next-token distribution is from the teacher's, and where the gradient points.

The logits of a few hundred positions of a large vocabulary are larger than the rest of the model's activations, so
they are made, compared and let go for a few positions at a time, and their gradient is written down, not recorded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

_POSITIONS_COUNT = 128


@dataclass(frozen=True, slots=True)
class Divergence:
    """Mean Kullback-Leibler divergence from teacher to student, in nats a token, and its gradients.

    Attributes:
        by_hidden: gradient by the student's hidden states.
        by_output: gradient by the student's output layer; None unless asked for.
    """

    mean: float
    by_hidden: torch.Tensor
    by_output: torch.Tensor | None


def divergence(
    student_hidden: torch.Tensor,
    student_output: torch.Tensor,
    teacher_hidden: torch.Tensor,
    teacher_output: torch.Tensor,
    *,
    output_trained: bool,
) -> Divergence:
    """KL(teacher || student) over all positions.

    By the logits of the student the gradient is the difference of the two distributions. Hidden states have one row
    a position, output layers one row a token of the vocabulary.
    """
    count = len(student_hidden)
    by_hidden = torch.empty_like(student_hidden)
    by_output = torch.zeros(student_output.shape, device=student_output.device) if output_trained else None
    total = torch.zeros((), dtype=torch.float64, device=student_hidden.device)
    with torch.no_grad():
        for start in range(0, count, _POSITIONS_COUNT):
            part = slice(start, start + _POSITIONS_COUNT)
            own = torch.log_softmax((student_hidden[part] @ student_output.T).float(), -1)
            theirs = torch.log_softmax((teacher_hidden[part] @ teacher_output.T).float(), -1)
            expected = theirs.exp()
            total += torch.sum(expected * theirs.sub_(own)).double()
            gradient = own.exp_().sub_(expected).div_(count).to(student_hidden.dtype)
            by_hidden[part] = gradient @ student_output
            if by_output is not None:
                by_output += gradient.T @ student_hidden[part]
    return Divergence(float(total) / count, by_hidden, by_output)
