"""What a child is told to measure of encoders, and what it answers."""

from __future__ import annotations

import msgspec

from origin.build.step import ArtifactKind


class EncoderJob(msgspec.Struct, frozen=True, kw_only=True, tag_field="job"):
    """What every job has."""

    directory: str
    kind: ArtifactKind
    texts: tuple[str, ...]
    threads_count: int


class VectorsJob(EncoderJob, frozen=True, kw_only=True, tag="vectors"):
    """Make a vector of each text, alone, as a node that promises the same answer in any company does."""

    vectors_file: str


class EncoderRaceJob(EncoderJob, frozen=True, kw_only=True, tag="race"):
    """Let two encoders read the same texts in turns."""

    sibling: str
    rounds_count: int


class EncoderWeighJob(EncoderJob, frozen=True, kw_only=True, tag="weigh"):
    """Compute a batch as nodes make it of these texts; the answer is the most memory that it took, in bytes."""


AnyEncoderJob = VectorsJob | EncoderRaceJob | EncoderWeighJob


class EncoderLap(msgspec.Struct, frozen=True):
    """CPU seconds of one encoder in one round: to load, and for all texts."""

    load_s: float
    texts_s: float
