"""What builder and child say to each other: a Job one way, Messages the other, each a line of JSON."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, to_builtins

from origin.build.step import Artifact, ArtifactKind
from origin.build.texts import TextSet, read_texts
from origin.errors import StepFailedError

if TYPE_CHECKING:
    from origin.build.step import Step


class ArtifactWords(Struct, frozen=True):
    """An artifact, as it is written down."""

    key: str
    kind: ArtifactKind
    directory: str

    def artifact(self) -> Artifact:
        """The artifact."""
        return Artifact(self.key, self.kind, Path(self.directory))


class TextsWords(Struct, frozen=True, kw_only=True):
    """Texts, as they are found again; `sha256` is what they were when the build was planned."""

    name: str
    files: tuple[str, ...]
    seed: int
    limit_count: int
    sha256: str

    def texts(self) -> TextSet:
        """Read them.

        Raises:
            StepFailedError: they have changed.
        """
        files = [Path(file) for file in self.files]
        texts = read_texts(self.name, files, seed=self.seed, limit_count=self.limit_count)
        if texts.sha256 != self.sha256:
            raise StepFailedError(
                f"the files of [data.{self.name}] were changed while the build ran; start it again"
            )
        return texts


class StepWords(Struct, frozen=True, kw_only=True):
    """A step and where its class is."""

    kind_module: str
    kind_name: str
    table: dict[str, Any]

    @property
    def id(self) -> str:
        """The step's name in the recipe."""
        return str(self.table["id"])


class StepJob(Struct, frozen=True, kw_only=True, tag="step"):
    """Run one step."""

    step: StepWords
    directory: str
    checkpoints: str
    inputs: dict[str, ArtifactWords]
    texts: dict[str, TextsWords]
    seed: int
    threads_count: int


class CheckJob(Struct, frozen=True, kw_only=True, tag="check"):
    """Ask of each step whether it can work on what it will be given, before anything is done.

    Attributes:
        steps: each with its source; None where that is not made yet.
    """

    steps: tuple[tuple[StepWords, ArtifactWords | None], ...]


class EvaluationJob(Struct, frozen=True, kw_only=True, tag="evaluation"):
    """Evaluate one artifact; `tasks` are tables of the recipe in `folder`."""

    candidate: ArtifactWords
    reference: ArtifactWords
    texts: TextsWords
    tasks: tuple[dict[str, Any], ...]
    folder: str
    kept: str
    seed: int
    threads_count: int
    siblings: dict[str, ArtifactWords]
    learned_from: tuple[TextsWords, ...]
    new_space: bool
    tokens_count: int
    speeds: bool


Job = StepJob | CheckJob | EvaluationJob


class Progressed(Struct, frozen=True, kw_only=True, tag="progressed"):
    """How far it is."""

    done: int
    total: int
    unit: str
    note: str = ""


class Done(Struct, frozen=True, kw_only=True, tag="done"):
    """The job is done; `result` is the facts of a step, or an evaluation."""

    result: dict[str, Any]
    tools: dict[str, str]


class Failed(Struct, frozen=True, kw_only=True, tag="failed"):
    """The job cannot be done; `code` is that of an EdgewardError."""

    code: str
    message: str
    step: str = ""


Message = Progressed | Done | Failed


def artifact_words(artifact: Artifact) -> ArtifactWords:
    """An artifact, to be sent."""
    return ArtifactWords(artifact.key, artifact.kind, str(artifact.directory))


def step_words(step: Step) -> StepWords:
    """A step, to be sent."""
    kind = type(step)
    return StepWords(kind_module=kind.__module__, kind_name=kind.__qualname__, table=to_builtins(step))
