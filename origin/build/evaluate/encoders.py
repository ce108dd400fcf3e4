"""Encoders: nearness of vectors to the reference's, task scores beside the reference's, and speed in turns."""

from __future__ import annotations

import hashlib
import tempfile
from heapq import nlargest
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from origin.build.evaluate.children import CandidateUnfitError, measure
from origin.build.evaluate.encoder_jobs import EncoderLap, EncoderRaceJob, EncoderWeighJob, VectorsJob
from origin.build.evaluate.encoder_scores import (
    cosines,
    kept_neighbours,
    probed,
    reciprocal_ranks,
    similarity_of,
    unit,
)
from origin.build.evaluate.figures import Figure
from origin.build.evaluate.intervals import resampled
from origin.build.evaluate.races import ROUNDS_COUNT, Raced, race_figures
from origin.errors import RecipeInvalidError, StepFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from origin.build.evaluate.tasks import Task
    from origin.build.step import Artifact
    from origin.build.texts import TextSet

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

VERSION = 1
"""Grows when the same encoder and texts would give other vectors."""
LEAST_TEXTS_COUNT = 100
NEAR_TEXTS_COUNT = 1000
"""Neighbours are looked for among no more texts than these: the share that is kept depends on how many there are."""
_CHILD = "origin.build.evaluate.encoder_child"
_ROUNDING = 1e-5
_RACED_TEXTS_COUNT = 64
_WEIGHED_TEXTS_COUNT = 32


def reference_vectors(
    reference: Artifact,
    texts: Sequence[str],
    kept: Path,
    *,
    threads_count: int,
    report: Callable[[int, int], None],
) -> Doubles:
    """Unit vectors of the reference, kept for the next candidate.

    Raises:
        StepFailedError: the reference cannot be computed.
    """
    named = hashlib.sha256(f"{VERSION} {reference.key}".encode())
    for text in texts:
        named.update(len(encoded := text.encode()).to_bytes(8, "little") + encoded)
    file = kept / f"{named.hexdigest()}.npy"
    if not file.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        try:
            found = vectors_of(reference, texts, threads_count=threads_count, report=report)
        except CandidateUnfitError as error:
            raise StepFailedError(f"the reference cannot be measured: {error}") from error
        part = kept / ".part.npy"  # what a kill left of it is overwritten
        np.save(part, found)
        part.rename(file)
    return unit(np.load(file))


def vectors_of(
    artifact: Artifact, texts: Sequence[str], *, threads_count: int, report: Callable[[int, int], None]
) -> NDArray[np.float32]:
    """The vector of each text, in a process of its own.

    Raises:
        CandidateUnfitError: it does not load or compute, or what it gives are no numbers, or all alike.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "vectors.npy")
        job = VectorsJob(
            directory=str(artifact.directory),
            kind=artifact.kind,
            texts=tuple(texts),
            threads_count=threads_count,
            vectors_file=str(file),
        )
        measure(_CHILD, job, int, report, threads_count=job.threads_count)
        found = np.asarray(np.load(file), np.float32)
    if not np.isfinite(found).all():
        raise CandidateUnfitError("it gives vectors that are not numbers")
    if np.allclose(found, found[0], rtol=0.0, atol=_ROUNDING * float(np.abs(found).max())):
        raise CandidateUnfitError("it gives the same vector for every text")
    return found


def check_texts(texts: TextSet) -> None:
    """Refuse too few texts. Raises RecipeInvalidError."""
    if len(texts.texts) < LEAST_TEXTS_COUNT:
        raise RecipeInvalidError(
            f"[data.{texts.name}] has {len(texts.texts)} texts to judge on, and a judgement takes {LEAST_TEXTS_COUNT}"
        )


def nearness(vectors: NDArray[np.float32], reference: Doubles, seed: int) -> dict[str, Figure]:
    """How near the vectors of the same texts are; of vectors of another length only whose neighbours they are."""
    candidate = unit(vectors)
    kept = kept_neighbours(candidate[:NEAR_TEXTS_COUNT], reference[:NEAR_TEXTS_COUNT])
    figures = {"nn10": _mean(kept, seed)}
    if candidate.shape[1] == reference.shape[1]:
        near = cosines(candidate, reference)
        figures["cosine_mean"] = _mean(near, seed)
        worst = float(near.min())
        figures["cosine_min"] = Figure(value=worst, low=worst, high=worst)
    return figures


def task_figures(
    task: Task, vectors: NDArray[np.float32], reference: Doubles, seed: int
) -> dict[str, Figure]:
    """A task's score, and its share of the reference's score for the same rows."""
    (count, score), (_, base) = _scoring(task, unit(vectors)), _scoring(task, reference)

    def share(drawn: Integers) -> float:
        beside = base(drawn)
        return score(drawn) / beside if beside > 0 else float("nan")

    figures = {task.figure: resampled(count, seed, score)}
    if base(np.arange(count)) > 0:  # of nothing there are no shares
        figures[f"{task.figure}_share"] = resampled(count, seed, share)
    return figures


def _scoring(task: Task, vectors: Doubles) -> tuple[int, Callable[[Integers], float]]:
    """How many groups a task has, and the score of those that are drawn."""
    if task.figure == "similarity":
        return len(vectors), similarity_of(vectors, np.array(task.scores))
    if task.figure == "probe":
        rows = probed(vectors, np.array(task.labels), task.train_count)
    else:
        rows = reciprocal_ranks(vectors)
    return len(rows), lambda drawn: float(rows[drawn].mean())


def _mean(values: Doubles, seed: int) -> Figure:
    return resampled(len(values), seed, lambda drawn: float(values[drawn].mean()))


def memory_bytes(
    candidate: Artifact, texts: TextSet, *, threads_count: int, report: Callable[[int, int], None]
) -> int:
    """What a process takes that has computed a batch of the longest texts with it; 0 is unknown.

    Raises:
        CandidateUnfitError: it does not compute.
    """
    job = EncoderWeighJob(
        directory=str(candidate.directory),
        kind=candidate.kind,
        texts=tuple(nlargest(_WEIGHED_TEXTS_COUNT, texts.texts, key=len)),
        threads_count=threads_count,
    )
    return measure(_CHILD, job, int, report, threads_count=job.threads_count)


def speeds(
    candidate: Artifact,
    sibling: Artifact,
    texts: TextSet,
    *,
    name: str,
    seed: int,
    report: Callable[[int, int], None],
) -> dict[str, Figure]:
    """How many times as fast as a sibling, by CPU time of one thread, one text at a time; `name` is the sibling's.

    Raises:
        CandidateUnfitError: one of both does not compute.
    """
    job = EncoderRaceJob(
        directory=str(candidate.directory),
        kind=candidate.kind,
        sibling=str(sibling.directory),
        texts=texts.texts[:_RACED_TEXTS_COUNT],
        rounds_count=ROUNDS_COUNT,
        threads_count=1,
    )
    raced = measure(_CHILD, job, Raced[EncoderLap], report, threads_count=job.threads_count)
    return race_figures(
        raced,
        sibling=name,
        seed=seed,
        took_s={"encode": lambda lap: lap.texts_s, "load": lambda lap: lap.load_s},
        own={
            "encode_texts_per_s": lambda lap: len(job.texts) / lap.texts_s,
            "load_s": lambda lap: lap.load_s,
        },
    )
