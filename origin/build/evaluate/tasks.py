"""Tasks: small labelled sets that an encoder's vectors are tried on."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import msgspec


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """An entry `[[task]]` of a recipe; its files are relative to the recipe."""

    FIGURE: ClassVar[str]


class SimilaritySpec(TaskSpec, frozen=True, kw_only=True, tag="similarity"):
    """How well cosines agree with what people think.

    Attributes:
        documents: a text a line.
        scores: the upper triangle of their similarities, without the diagonal, one after another.
    """

    FIGURE: ClassVar[str] = "similarity"
    documents: str
    scores: str


class ProbeSpec(TaskSpec, frozen=True, kw_only=True, tag="probe"):
    """How well a linear probe on the vectors tells classes apart.

    Attributes:
        file: `.jsonl` with `text` and a whole number `label`.
        train_count: the first so many rows are learned from, the others judged.
    """

    FIGURE: ClassVar[str] = "probe"
    file: str
    train_count: int


class RetrievalSpec(TaskSpec, frozen=True, kw_only=True, tag="retrieval"):
    """How near the top the right text is found.

    Attributes:
        file: `.jsonl` with `text` and the `example` to find with it among all examples.
    """

    FIGURE: ClassVar[str] = "retrieval"
    file: str


AnyTaskSpec = SimilaritySpec | ProbeSpec | RetrievalSpec


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """A task, read.

    Attributes:
        texts: all that need vectors, each once.
        figure: `similarity`, `probe` or `retrieval`.
        sha256: of its files.
    """

    figure: str
    texts: tuple[str, ...]
    sha256: str
    spec: AnyTaskSpec


def read_tasks(specs: tuple[AnyTaskSpec, ...], directory: Path) -> tuple[Task, ...]:
    """The tasks of a recipe that lies in `directory`.

    Raises:
        InputInvalidError: a file is missing or is not what its kind of task needs.
    """
    raise InputInvalidError(str(directory / specs[0].FIGURE))
