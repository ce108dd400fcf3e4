"""Evaluate: everything that is measured of one candidate, next to the model that it comes from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from origin.build.evaluate.figures import Evaluation
    from origin.build.evaluate.tasks import Task
    from origin.build.step import Artifact, StepProgress
    from origin.build.texts import TextSet

LEAST_TOKENS_COUNT = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationWork:
    """What an evaluation is given besides the models and the texts.

    Attributes:
        kept: a directory in which what the reference gives is kept from one evaluation to the next.
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
    raise NotImplementedError
