"""Tasks: small labelled sets that an encoder's vectors are tried on."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, ClassVar, TypeVar

import msgspec

from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from pathlib import Path

_FILE_LIMIT_BYTES = 1 << 26
_LEAST_DOCUMENTS_COUNT = 5
_LEAST_ROWS_COUNT = 20


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """An entry `[[task]]` of a recipe; its files are relative to the recipe."""

    FIGURE: ClassVar[str]


class SimilaritySpec(TaskSpec, frozen=True, kw_only=True, tag="similarity"):
    """How well cosines agree with what people think.

    Attributes:
        documents: a text a line.
        scores: a square table of their similarities, a line for each text; what is above the diagonal counts.
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
        figure: `similarity`, `probe` or `retrieval`.
        texts: all that need vectors, in order; those to find come after those to find them with.
        scores: of a similarity: above the diagonal, row after row.
        labels: of a probe, one for each text.
        train_count: of a probe, how many texts are learned from.
        sha256: of its files.
    """

    figure: str
    texts: tuple[str, ...]
    sha256: str
    scores: tuple[float, ...] = ()
    labels: tuple[int, ...] = ()
    train_count: int = 0


class _Labelled(msgspec.Struct):
    text: str
    label: int


class _Pair(msgspec.Struct):
    text: str
    example: str


Line = TypeVar("Line", bound=msgspec.Struct)


def read_tasks(specs: tuple[AnyTaskSpec, ...], directory: Path) -> tuple[Task, ...]:
    """The tasks of a recipe that lies in `directory`.

    Raises:
        InputInvalidError: a file is missing or is not what its kind of task needs, or a kind is there twice.
    """
    kinds = [spec.FIGURE for spec in specs]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise InputInvalidError(f'two tasks are of the kind "{kind}": keep one of each', param="task")
    return tuple(_read(spec, directory) for spec in specs)


def _read(spec: AnyTaskSpec, directory: Path) -> Task:
    if isinstance(spec, SimilaritySpec):
        return _similarity(directory / spec.documents, directory / spec.scores)
    file = directory / spec.file
    content = _content(file)
    digest = hashlib.sha256(content).hexdigest()
    if isinstance(spec, RetrievalSpec):
        pairs = _lines(file, content, _Pair)
        texts = (*(pair.text for pair in pairs), *(pair.example for pair in pairs))
        return Task(figure=spec.FIGURE, texts=texts, sha256=digest)
    rows = _lines(file, content, _Labelled)
    labels = tuple(row.label for row in rows)
    if not _LEAST_ROWS_COUNT <= spec.train_count <= len(rows) - _LEAST_ROWS_COUNT:
        raise InputInvalidError(
            f"train_count is {spec.train_count} and {file} has {len(rows)} rows: at least {_LEAST_ROWS_COUNT} are "
            "needed to learn from and as many to judge on",
            param="task",
        )
    if len(set(labels[: spec.train_count])) < 2:
        raise InputInvalidError(
            f"the first {spec.train_count} rows of {file} have one label alone: mix them", param="task"
        )
    return Task(
        figure=spec.FIGURE,
        texts=tuple(row.text for row in rows),
        sha256=digest,
        labels=labels,
        train_count=spec.train_count,
    )


def _similarity(documents: Path, table: Path) -> Task:
    written, numbers = _content(documents), _content(table)
    texts = tuple(line for line in written.decode("utf-8", "replace").split("\n") if line.strip())
    try:
        rows = [
            [float(word) for word in line.replace(",", " ").split()]
            for line in numbers.decode().split("\n")
            if line.strip()
        ]
    except ValueError as error:
        raise InputInvalidError(f"{table} is not a table of numbers: {error}", param="task") from error
    count = len(texts)
    if count < _LEAST_DOCUMENTS_COUNT or len(rows) != count or any(len(row) != count for row in rows):
        raise InputInvalidError(
            f"{documents} has {count} texts and {table} {len(rows)} rows: as many are needed, at least "
            f"{_LEAST_DOCUMENTS_COUNT}, with a number for each text in each",
            param="task",
        )
    scores = tuple(rows[one][other] for one in range(count) for other in range(one + 1, count))
    digest = hashlib.sha256(written + b"\0" + numbers).hexdigest()
    return Task(figure=SimilaritySpec.FIGURE, texts=texts, sha256=digest, scores=scores)


def _content(file: Path) -> bytes:
    try:
        if file.stat().st_size > _FILE_LIMIT_BYTES:
            raise InputInvalidError(f"{file} is larger than 64 MiB; give a part of it", param="task")
        return file.read_bytes()
    except OSError as error:
        raise InputInvalidError(f"cannot read {file}: {error.strerror}", param="task") from error


def _lines(file: Path, content: bytes, kind: type[Line]) -> list[Line]:
    rows = []
    for number, line in enumerate(content.split(b"\n"), 1):
        if line.strip():
            try:
                rows.append(msgspec.json.decode(line, type=kind))
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise InputInvalidError(
                    f"{file}, line {number}, is not as needed: {error}", param="task"
                ) from error
    if len(rows) < _LEAST_ROWS_COUNT:
        raise InputInvalidError(
            f"{file} has {len(rows)} rows; a task takes at least {_LEAST_ROWS_COUNT}", param="task"
        )
    return rows
