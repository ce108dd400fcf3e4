"""Teacher: the vectors that a student is to give, computed once and kept where an interrupted build finds them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from origin.build.encoder.forward import encode, sentence_vectors
from origin.build.onnx.rows import in_batches
from origin.build.step import StepProgress
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from origin.build.encoder.forward import Weights
    from origin.build.onnx.checkpoint import Checkpoint, Floats
    from origin.build.onnx.rows import Ids
    from origin.build.step import StepWork

_BATCH_TOKENS = 4096
_PART_COUNT = 8192


def check_alike(student: Checkpoint, teacher: Checkpoint) -> None:
    """Refuse a student that cannot give its teacher's vectors.

    Raises:
        RecipeInvalidError: they are of another width, or tokens have other numbers.
    """
    if student.config.hidden_size != teacher.config.hidden_size:
        raise RecipeInvalidError(
            f"the student's vectors have {student.config.hidden_size} numbers and the teacher's "
            f"{teacher.config.hidden_size}; make a student of the same width"
        )
    if student.config.vocab_size != teacher.config.vocab_size:
        raise RecipeInvalidError(
            "student and teacher have different vocabularies; trim the vocabulary after distilling"
        )


def teacher_vectors(
    checkpoint: Checkpoint, weights: Weights, rows: Sequence[Ids], work: StepWork, *, matrices: torch.dtype
) -> Floats:
    """The vector of each row, [rows, width]; of those that a run before this one computed, nothing is done."""
    parts: list[Floats] = []
    for start in range(0, len(rows), _PART_COUNT):
        part = rows[start : start + _PART_COUNT]
        file = work.checkpoints / f"teacher-{start}.safetensors"
        vectors = _kept(file, len(part))
        if vectors is None:
            vectors = vectors_of(checkpoint, weights, part, matrices=matrices)
            save_file({"vectors": vectors}, str(file.with_suffix(".part")))
            file.with_suffix(".part").replace(file)
        parts.append(vectors)
        work.report(StepProgress(done=start + len(part), total=len(rows), unit="texts", note="teacher"))
    return np.concatenate(parts)


def vectors_of(
    checkpoint: Checkpoint, weights: Weights, rows: Sequence[Ids], *, matrices: torch.dtype = torch.float32
) -> Floats:
    """The vector of each row, [rows, width]."""
    vectors = np.zeros((len(rows), checkpoint.config.hidden_size), np.float32)
    with torch.inference_mode():
        for batch in in_batches(rows, batch_tokens=_BATCH_TOKENS):
            encoded = encode(checkpoint.config, weights, batch, matrices=matrices)
            vectors[batch.places] = sentence_vectors(encoded, checkpoint.pooling).float().cpu().numpy()
    return vectors


def _kept(file: Path, count: int) -> Floats | None:
    try:
        vectors: Floats = load_file(str(file))["vectors"]
    except (OSError, SafetensorError, KeyError):
        return None
    return vectors if len(vectors) == count else None
