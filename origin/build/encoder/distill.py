"""Distill: a smaller encoder learns a larger one's vectors (https://arxiv.org/abs/1910.01108, 1909.10351, 2002.10957).

The loss is the cosine distance of a text's vector, plus, where asked for, the mean square distance of its token vectors
and of the batch's similarities to each other: what a search ranks by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from origin.build.encoder.forward import encode, sentence_vectors
from origin.build.encoder.student import from_weights, to_weights
from origin.build.encoder.teacher import check_alike, teacher_vectors
from origin.build.encoder.training import Pace, step_batches, train
from origin.build.onnx.checkpoint import read_checkpoint, write_checkpoint
from origin.build.onnx.rows import read_rows
from origin.build.training.machine import choose_machine

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from origin.build.encoder.forward import Encoded
    from origin.build.encoder_steps import DistillEncoder
    from origin.build.step import Fact, StepWork

VERSION = 1


def run(step: DistillEncoder, work: StepWork) -> Mapping[str, Fact]:
    """Train the student, and write it."""
    student = read_checkpoint(work.inputs["source"].directory)
    teacher = read_checkpoint(work.inputs["teacher"].directory)
    check_alike(student, teacher)
    device, matrices = choose_machine(work.threads_count)
    guide = to_weights(teacher, device, learns=False)
    rows = read_rows(teacher.directory, work.texts["data"].texts, limit_tokens=step.limit_tokens)
    known = None
    if not step.hidden_weight:
        known = torch.from_numpy(teacher_vectors(teacher, guide, rows, work, matrices=matrices)).to(device)
    weights = to_weights(student, device, learns=True)
    batches = step_batches(rows, seed=work.seed, rows_count=step.batch_rows_count)

    def loss_of(number: int) -> Tensor:
        batch = batches(number)
        learned = encode(student.config, weights, batch, matrices=matrices)
        vectors = sentence_vectors(learned, student.pooling)
        if known is not None:
            return vector_loss(vectors, known[torch.from_numpy(batch.places)], step.similarity_weight)
        with torch.no_grad():
            taught = encode(teacher.config, guide, batch, matrices=matrices)
        loss = vector_loss(vectors, sentence_vectors(taught, teacher.pooling), step.similarity_weight)
        return loss + step.hidden_weight * hidden_loss(learned, taught)

    pace = Pace(steps_count=step.steps_count, learning_rate=step.learning_rate)
    loss = train(weights, loss_of, pace, work)
    write_checkpoint(from_weights(student, weights), work.directory)
    return {
        "loss": round(loss, 6),
        "texts_count": len(rows),
        "matrices": str(matrices),
        "device": device.type,
    }


def vector_loss(learned: Tensor, taught: Tensor, similarity_weight: float) -> Tensor:
    """Cosine distance of unit vectors, and that of their similarities within the batch."""
    loss = 1 - (learned * taught).sum(1).mean()
    if similarity_weight:
        loss = loss + similarity_weight * (learned @ learned.T - taught @ taught.T).square().mean()
    return loss


def hidden_loss(learned: Encoded, taught: Encoded) -> Tensor:
    """Mean square distance of the last token vectors, as a share of the teacher's own mean square."""
    mask = taught.mask[:, :, None]
    distance = ((learned.hidden[-1] - taught.hidden[-1]).square() * mask).sum()
    return distance / (taught.hidden[-1].square() * mask).sum()
