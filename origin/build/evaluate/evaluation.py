"""Evaluate: everything that is measured of one candidate, next to the model that it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from origin.build.evaluate import chat, encoders
from origin.build.evaluate.children import CandidateUnfitError
from origin.build.evaluate.figures import COMPARABLE, Evaluation
from origin.build.evaluate.intervals import exact
from origin.build.evaluate.leaks import leaked_share
from origin.build.evaluate.sizes import size_figures
from origin.build.step import StepProgress
from origin.errors import RecipeInvalidError, StepFailedError
from registry.errors import EdgewardError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from origin.build.evaluate.figures import Figure
    from origin.build.evaluate.tasks import Task
    from origin.build.step import Artifact
    from origin.build.texts import TextSet

VERSION = 3
"""Grows when the same inputs would give other figures: kept evaluations are then made again."""
LEAST_TOKENS_COUNT = 8192
_LIBRARIES = ("llama-cpp-python", "numpy", "onnxruntime", "tokenizers")
_WEIGHING = ("readings", "weighing")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationWork:
    """What an evaluation is given besides the models and the texts.

    Attributes:
        kept: a directory in which what the reference gives is kept from one evaluation to the next; two at a time must
            not work in it.
        seed: of the resampling.
        report: hears how far it is.
        threads_count: how many threads may compute; speeds are always of one.
        siblings: other candidates to compare the speed with, by the names that gates call them.
        learned_from: every set of texts that some step on the way to the candidate was given.
        new_space: the candidate's vectors need not be the reference's.
        tokens_count: how much text a chat model is judged on.
        speeds: measure them, which takes a quiet machine and a minute.
    """

    kept: Path
    seed: int
    report: Callable[[StepProgress], None]
    threads_count: int = 1
    siblings: Mapping[str, Artifact] = field(default_factory=dict)
    learned_from: Sequence[TextSet] = ()
    new_space: bool = False
    tokens_count: int = LEAST_TOKENS_COUNT
    speeds: bool = True

    def hears(self, unit: str, note: str) -> Callable[[int, int], None]:
        """What is given to a part of the work, to report how far it is."""

        def report(done: int, total: int) -> None:
            self.report(StepProgress(done=done, total=total, unit=unit, note=note))

        return report


def evaluate(
    candidate: Artifact, reference: Artifact, texts: TextSet, tasks: Sequence[Task], work: EvaluationWork
) -> Evaluation:
    """Measure a candidate.

    A candidate that does not load or gives no numbers is an evaluation with faults, not an error.

    Raises:
        RecipeInvalidError: these two kinds of artifact cannot be compared, or there is too little text.
        BuildPartMissingError: a package that it takes is not installed.
        StepFailedError: the reference itself cannot be computed.
    """
    if reference.kind not in COMPARABLE.get(candidate.kind, ()):
        raise RecipeInvalidError(
            f"a variant of the kind {candidate.kind} cannot be judged beside a source of the kind {reference.kind}: "
            "gguf is judged beside gguf, and onnx beside bert or onnx"
        )
    judged = [*texts.texts, *(text for task in tasks for text in task.texts)]
    learned = [text for each in work.learned_from for text in each.texts]
    figures = {"leaked_share": exact(leaked_share(judged, learned))}
    faults: list[str] = []
    measure = _chat if candidate.kind == "gguf" else _encoder
    sizes: dict[str, int] = {}
    try:
        figures |= _sizes(candidate, reference)
        for found in measure(candidate, reference, texts, tasks, work, sizes):
            figures |= found
    except CandidateUnfitError as error:
        faults.append(f"it cannot be computed: {error}")
    broken = sorted(name for name, figure in figures.items() if figure.value is None)
    if broken:
        faults.append(f"it gives something that is not a number: {', '.join(broken)}")
    return Evaluation(
        candidate=candidate.key,
        reference=reference.key,
        kind=candidate.kind,
        texts_sha256=texts.sha256,
        seed=work.seed,
        new_space=work.new_space,
        figures=figures,
        sizes=sizes,
        faults=tuple(faults),
        versions=dict(_versions()),
    )


def _sizes(candidate: Artifact, reference: Artifact) -> dict[str, Figure]:
    try:
        return size_figures(candidate, reference)
    except EdgewardError as error:
        raise CandidateUnfitError(error.message) from error


def _chat(
    candidate: Artifact,
    reference: Artifact,
    texts: TextSet,
    tasks: Sequence[Task],
    work: EvaluationWork,
    sizes: dict[str, int],
) -> Iterator[dict[str, Figure]]:
    if tasks:
        raise RecipeInvalidError(
            "tasks are for encoders; a chat model is judged on its texts: leave [[task]] out"
        )
    prepared = chat.prepare(
        reference,
        texts,
        work.kept,
        tokens_count=work.tokens_count,
        threads_count=work.threads_count,
        report=work.hears("chunks", "reading with the source"),
    )
    sizes.update(prepared.sizes)
    yield chat.nearness(
        candidate,
        prepared,
        seed=work.seed,
        threads_count=work.threads_count,
        report=work.hears("chunks", "reading with the variant"),
    )
    yield _memory(
        chat.memory_bytes(candidate, threads_count=work.threads_count, report=work.hears(*_WEIGHING))
    )
    for name, sibling in _raced(candidate, reference, work):
        yield chat.speeds(
            candidate, sibling, prepared, name=name, seed=work.seed, report=work.hears("rounds", "racing")
        )


def _encoder(
    candidate: Artifact,
    reference: Artifact,
    texts: TextSet,
    tasks: Sequence[Task],
    work: EvaluationWork,
    sizes: dict[str, int],
) -> Iterator[dict[str, Figure]]:
    encoders.check_texts(texts)
    sizes["texts_count"] = len(texts.texts)
    hears = work.hears("texts", "reading")

    def both(read: Sequence[str]) -> tuple[Any, Any]:
        base = encoders.reference_vectors(
            reference, read, work.kept, threads_count=work.threads_count, report=hears
        )
        return encoders.vectors_of(candidate, read, threads_count=work.threads_count, report=hears), base

    yield encoders.nearness(*both(texts.texts), work.seed)
    for task in tasks:
        yield encoders.task_figures(task, *both(task.texts), work.seed)
    yield _memory(
        encoders.memory_bytes(
            candidate, texts, threads_count=work.threads_count, report=work.hears(*_WEIGHING)
        )
    )
    for name, sibling in _raced(candidate, reference, work):
        yield encoders.speeds(
            candidate, sibling, texts, name=name, seed=work.seed, report=work.hears("rounds", "racing")
        )


def _memory(measured_bytes: int) -> dict[str, Figure]:
    """The figure; none where the system does not tell."""
    return {"memory_bytes": exact(measured_bytes)} if measured_bytes else {}


def _raced(candidate: Artifact, reference: Artifact, work: EvaluationWork) -> Iterator[tuple[str, Artifact]]:
    """Whom it is raced with: siblings, and the reference where that is of the same kind, so that it can be."""
    if not work.speeds:
        return
    if reference.kind == candidate.kind:
        yield "", reference
    for name, sibling in work.siblings.items():
        if sibling.kind != candidate.kind:
            raise StepFailedError(f"{name} is of the kind {sibling.kind}; a race is among one kind")
        yield name, sibling


def _versions() -> Iterator[tuple[str, str]]:
    for library in _LIBRARIES:
        try:
            yield library, version(library)
        except PackageNotFoundError:
            continue
