"""Chat models: divergence from the reference on the same tokens, perplexity, and speed in turns with a sibling."""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from origin.build.evaluate.chat_jobs import (
    Chunk,
    Compared,
    CompareJob,
    Lap,
    PrepareJob,
    RaceJob,
    WeighJob,
)
from origin.build.evaluate.children import CandidateUnfitError, measure
from origin.build.evaluate.intervals import exact, mean_of, percentile_of, resampled
from origin.build.evaluate.races import ROUNDS_COUNT, Raced, race_figures
from origin.errors import RecipeInvalidError, StepFailedError
from registry.publish.variant_sources import DEFAULT_CONTEXT_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from origin.build.evaluate.figures import Figure
    from origin.build.step import Artifact
    from origin.build.texts import TextSet

Doubles = NDArray[np.float64]

VERSION = 1
"""Grows when the same reference and texts would be cut or scored otherwise."""
_CHILD = "origin.build.evaluate.chat_child"
_LEAST_SHARE = 0.5
_PART = ".part-"


class Prepared(msgspec.Struct, frozen=True):
    """What the reference thinks of the texts, on disk."""

    directory: Path
    sizes: dict[str, int]


def prepare(
    reference: Artifact,
    texts: TextSet,
    kept: Path,
    *,
    tokens_count: int,
    threads_count: int,
    report: Callable[[int, int], None],
) -> Prepared:
    """Score the reference, unless that was done before for the same file and texts.

    Raises:
        RecipeInvalidError: there is less than half as much text as asked for.
        StepFailedError: the reference cannot be computed.
    """
    named = f"{VERSION} {reference.key} {texts.sha256} {tokens_count}"
    directory = kept / hashlib.sha256(named.encode()).hexdigest()
    sizes_file = directory / "sizes.json"
    for left in kept.glob(f"{_PART}*"):  # by a kill, and perhaps 0.8 GB
        shutil.rmtree(left, ignore_errors=True)
    if not sizes_file.is_file():
        kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept, prefix=_PART) as part:
            job = PrepareJob(
                reference=str(reference.model_file),
                texts=texts.texts,
                tokens_count=tokens_count,
                directory=part,
                threads_count=threads_count,
            )
            try:
                sizes = measure(_CHILD, job, dict[str, int], report, threads_count=job.threads_count)
            except CandidateUnfitError as error:
                raise StepFailedError(f"the reference cannot be measured: {error}") from error
            _check_length(sizes["tokens_count"], tokens_count, texts)
            Path(part, "sizes.json").write_bytes(msgspec.json.encode(sizes))
            shutil.rmtree(directory, ignore_errors=True)
            Path(part).rename(directory)
            Path(part).mkdir()  # for the context manager to remove
    return Prepared(directory, msgspec.json.decode(sizes_file.read_bytes(), type=dict[str, int]))


def _check_length(found: int, wanted: int, texts: TextSet) -> None:
    if found < _LEAST_SHARE * wanted:
        raise RecipeInvalidError(
            f"[data.{texts.name}] has {found} tokens to judge on, and a judgement takes {wanted}: give more text"
        )


def nearness(
    candidate: Artifact,
    prepared: Prepared,
    *,
    seed: int,
    threads_count: int,
    report: Callable[[int, int], None],
) -> dict[str, Figure]:
    """Divergence, agreement and perplexity. Raises CandidateUnfitError."""
    with tempfile.TemporaryDirectory() as scratch:
        rows_file = Path(scratch, "rows.npz")
        job = CompareJob(
            candidate=str(candidate.model_file),
            directory=str(prepared.directory),
            rows_file=str(rows_file),
            threads_count=threads_count,
        )
        compared = measure(_CHILD, job, Compared, report, threads_count=job.threads_count)
        rows = _load(rows_file) if compared.same_length else None
    reference = _load(prepared.directory / "rows.npz")
    chunks = msgspec.json.decode((prepared.directory / "chunks.json").read_bytes(), type=list[Chunk])
    ends = np.cumsum([0] + [len(chunk.tokens) - 1 for chunk in chunks])
    groups = [slice(int(start), int(end)) for start, end in pairwise(ends)]
    same = min(compared.same_texts / len(chunks), compared.same_pieces / compared.pieces_count)
    figures = {"tokenizer_same": exact(same if compared.same_special else 0.0)}
    if rows is not None:
        figures |= _row_figures(rows, reference, groups, seed)
    return figures | _byte_figures(compared, rows, reference, chunks, groups, seed)


def _row_figures(
    rows: Mapping[str, Doubles], reference: Mapping[str, Doubles], groups: list[slice], seed: int
) -> dict[str, Figure]:
    return {
        "kl_mean": mean_of(rows["kl"], groups, seed),
        "kl_p99": percentile_of(rows["kl"], groups, seed, 99.0),
        "top1": mean_of((rows["top"] == reference["top"]).astype(np.float64), groups, seed),
        "perplexity": mean_of(rows["nll"], groups, seed, then=_exp),
        "perplexity_ratio": mean_of(rows["nll"] - reference["nll"], groups, seed, then=_exp),
    }


def _byte_figures(
    compared: Compared,
    rows: Mapping[str, Doubles] | None,
    reference: Mapping[str, Doubles],
    chunks: list[Chunk],
    groups: list[slice],
    seed: int,
) -> dict[str, Figure]:
    def bits_of(nll: Doubles) -> Doubles:
        return np.array([nll[group].sum() / math.log(2) for group in groups])

    reference_bits = bits_of(reference["nll"])
    reference_bytes = np.array([chunk.scored_bytes for chunk in chunks], np.float64)
    if compared.own_bits:
        bits = np.array([math.nan if each is None else each for each in compared.own_bits])
        sizes = np.array(compared.own_bytes, np.float64)
    elif rows is not None:
        bits, sizes = bits_of(rows["nll"]), reference_bytes
    else:
        return {}

    def per_byte(drawn: NDArray[np.int64]) -> float:
        return float(bits[drawn].sum() / max(1.0, sizes[drawn].sum()))

    def ratio(drawn: NDArray[np.int64]) -> float:
        return per_byte(drawn) / float(reference_bits[drawn].sum() / max(1.0, reference_bytes[drawn].sum()))

    return {
        "bits_per_byte": resampled(len(chunks), seed, per_byte),
        "bits_per_byte_ratio": resampled(len(chunks), seed, ratio),
    }


def memory_bytes(candidate: Artifact, *, threads_count: int, report: Callable[[int, int], None]) -> int:
    """What a process takes that has read a prompt with it, in a context as long as nodes make it; 0 is unknown.

    Raises:
        CandidateUnfitError: it does not compute.
    """
    job = WeighJob(
        candidate=str(candidate.model_file),
        context_tokens=DEFAULT_CONTEXT_TOKENS,
        threads_count=threads_count,
    )
    return measure(_CHILD, job, int, report, threads_count=job.threads_count)


def speeds(
    candidate: Artifact,
    sibling: Artifact,
    prepared: Prepared,
    *,
    name: str,
    seed: int,
    report: Callable[[int, int], None],
) -> dict[str, Figure]:
    """How many times as fast as a sibling, by CPU time of one thread, round by round; `name` is the sibling's.

    Raises:
        CandidateUnfitError: one of both does not compute.
    """
    job = RaceJob(
        candidate=str(candidate.model_file),
        sibling=str(sibling.model_file),
        directory=str(prepared.directory),
        rounds_count=ROUNDS_COUNT,
        threads_count=1,
    )
    raced = measure(_CHILD, job, Raced[Lap], report, threads_count=job.threads_count)
    return race_figures(
        raced,
        sibling=name,
        seed=seed,
        took_s={
            "decode": lambda lap: lap.token_s,
            "prefill": lambda lap: lap.read_s,
            "first_token": lambda lap: lap.load_s + lap.read_s,
            "load": lambda lap: lap.load_s,
        },
        own={
            "decode_tokens_per_s": lambda lap: 1 / lap.token_s,
            "first_token_s": lambda lap: lap.load_s + lap.read_s,
            "load_s": lambda lap: lap.load_s,
        },
    )


def _load(file: Path) -> dict[str, Doubles]:
    with np.load(file) as stored:
        return {name: stored[name].astype(np.float64) for name in stored.files}


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
