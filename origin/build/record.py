"""StepRecord: how an artifact came about; lies beside it, and is what a lineage is written from."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from origin.build.step import ArtifactKind


class MadeFile(Struct, frozen=True, kw_only=True):
    """A file of an artifact."""

    size_bytes: int
    sha256: str


class StepRecord(Struct, frozen=True, kw_only=True):
    """What was done.

    Attributes:
        version: of the operation.
        parameters: what the step said besides its name, inputs and texts.
        inputs: the keys of its inputs, by attribute.
        texts: the digests of its texts, by attribute.
        facts: what the operation found worth saying.
        files: by their path in the artifact.
        tools: versions of the packages that were loaded.
        took_s: wall time, of the run that ended it.
    """

    op: str
    version: int
    parameters: dict[str, Any]
    inputs: dict[str, str]
    texts: dict[str, str]
    seed: int
    kind: ArtifactKind
    facts: dict[str, Any]
    files: dict[str, MadeFile]
    tools: dict[str, str]
    took_s: float
