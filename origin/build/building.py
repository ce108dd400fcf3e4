"""Build: do what a plan says is not done, judge what came out, and write the report."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import msgspec
import structlog

from origin.build.child.messages import (
    CheckJob,
    EvaluationJob,
    StepJob,
    TextsWords,
    artifact_words,
    step_words,
)
from origin.build.child.starting import run_job
from origin.build.evaluate.figures import Evaluation
from origin.build.gates import Verdict, judge
from origin.build.keys import parameters_of
from origin.build.recipe import SOURCE
from origin.build.record import MadeFile, StepRecord
from origin.build.source import digest_of_file
from origin.errors import RecipeInvalidError, StepFailedError
from registry.durable import make_folders, write_durably

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from origin.build.planning import Plan, PlannedStep, PlannedVariant
    from origin.build.step import Artifact, StepProgress
    from origin.build.workspace import Making, Workspace

log = structlog.get_logger()


class Watcher(Protocol):
    """Whoever shows how far a build is."""

    def begun(self, what: str) -> None:
        """A step or an evaluation begins."""

    def progressed(self, progress: StepProgress) -> None:
        """It is so far."""

    def waiting(self, what: str) -> None:
        """Another build is making this; we wait for it."""

    def ended(self, what: str, took_s: float) -> None:
        """It is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltVariant:
    """A variant, made and judged.

    Attributes:
        records: of the steps from the source to it, in order.
        evaluation: None where the recipe has no `[evaluate]`; so is `verdict`.
    """

    plan: PlannedVariant
    artifact: Artifact
    records: tuple[tuple[str, StepRecord], ...]
    evaluation: Evaluation | None
    verdict: Verdict | None

    @property
    def passed(self) -> bool:
        """Whether its gate lets it through; what was not judged is not through."""
        return self.verdict is not None and self.verdict.passed


class Build:
    """One build of a plan, in a workspace."""

    def __init__(self, plan: Plan, workspace: Workspace, watcher: Watcher, *, threads_count: int) -> None:
        self._plan = plan
        self._workspace = workspace
        self._watcher = watcher
        self._threads_count = threads_count
        self._made: dict[str, Artifact] = {}
        self._logs = workspace.root / "logs"

    def run(self) -> tuple[BuiltVariant, ...]:
        """Make and judge every variant. What is done already is not done again; a KeyboardInterrupt costs one step.

        Raises:
            RecipeInvalidError: an operation cannot be done to this model.
            BuildPartMissingError: a package is missing.
            StepFailedError: a step failed; what was made before it is kept.
        """
        with self._workspace.in_use():
            make_folders(self._logs)
            self._made[SOURCE] = self._workspace.keep_source(self._plan.source)
            self._check_steps()
            for planned in self._plan.steps:
                self._made[planned.step.id] = self._make(planned)
            return tuple(self._judged(variant) for variant in self._plan.variants)

    def _check_steps(self) -> None:
        """Ask the operations, as far as their sources are there, so that nobody waits an hour for a refusal."""
        steps = tuple(
            (
                step_words(planned.step),
                None if (source := self._source_of(planned)) is None else artifact_words(source),
            )
            for planned in self._plan.steps
            if not planned.done
        )
        if steps:
            run_job(
                CheckJob(steps=steps), what="step", log=self._logs / "check.log",
                threads_count=self._threads_count, report=lambda _: None,
            )  # fmt: skip

    def _source_of(self, planned: PlannedStep) -> Artifact | None:
        key = planned.inputs.get("source")
        if key == self._plan.source.key:
            return self._made[SOURCE]
        found = self._workspace.artifact(key) if key else None
        return found[0] if found else None

    def _make(self, planned: PlannedStep) -> Artifact:
        what = f"step {planned.step.id}"
        found = self._workspace.artifact(planned.key)
        if found is not None:
            return found[0]
        with self._workspace.making(planned.key, lambda: self._watcher.waiting(what)) as making:
            if making is None:
                made = self._workspace.artifact(planned.key)
                assert made is not None, "somebody else made it"
                return made[0]
            self._watcher.begun(what)
            started_s = time.monotonic()
            artifact = self._run(planned, making, what)
            took_s = time.monotonic() - started_s
        self._watcher.ended(what, took_s)
        log.info("step.done", step=planned.step.id, key=planned.key, took_s=round(took_s, 1))
        return artifact

    def _run(self, planned: PlannedStep, making: Making, what: str) -> Artifact:
        step, plan = planned.step, self._plan
        started_s = time.monotonic()
        inputs = {name: self._made[getattr(step, name)] for name in planned.inputs}
        job = StepJob(
            step=step_words(step),
            directory=str(making.directory),
            checkpoints=str(making.checkpoints),
            inputs={name: artifact_words(artifact) for name, artifact in inputs.items()},
            texts={name: self._texts(said) for name, said in planned.texts.items()},
            seed=plan.recipe.seed,
            threads_count=self._threads_count,
        )
        done = run_job(
            job, what=what, log=self._logs / f"{planned.key}.log", threads_count=self._threads_count,
            report=self._watcher.progressed, lock=making.lock,
        )  # fmt: skip
        record = StepRecord(
            op=str(step.__struct_config__.tag),
            version=planned.version,
            parameters=parameters_of(step),
            inputs=dict(planned.inputs),
            texts={name: plan.texts[said].sha256 for name, said in planned.texts.items()},
            seed=plan.recipe.seed,
            kind=step.MAKES,
            facts=done.result,
            files=_files(making.directory),
            tools=done.tools,
            took_s=time.monotonic() - started_s,
        )
        artifact = making.done(record)
        if not artifact.model_file.is_file():
            raise StepFailedError(f"{what}: the operation {record.op} made no {artifact.model_file.name}")
        return artifact

    def _texts(self, name: str) -> TextsWords:
        table = self._plan.recipe.data[name]
        return TextsWords(
            name=name,
            files=tuple(str((self._plan.recipe.path.parent / file).resolve()) for file in table.files),
            seed=table.seed,
            limit_count=table.limit_count,
            sha256=self._plan.texts[name].sha256,
        )

    def _judged(self, variant: PlannedVariant) -> BuiltVariant:
        records = []
        for step in variant.line:
            found = self._workspace.artifact(self._plan.keys[step.id])
            assert found is not None, "all steps are done"
            records.append((step.id, found[1]))
        evaluation = self._evaluation(variant)
        return BuiltVariant(
            plan=variant,
            artifact=self._made[variant.table.source],
            records=tuple(records),
            evaluation=evaluation,
            verdict=None if evaluation is None else judge(evaluation, variant.gates),
        )

    def _evaluation(self, variant: PlannedVariant) -> Evaluation | None:
        if variant.evaluation is None:
            return None
        place = self._workspace.evaluation(variant.evaluation)
        what = f"judging {variant.table.name}"
        if kept := _read_evaluation(place):
            return kept
        reference = self._plan.reference_key()
        with self._workspace.alone(reference, lambda: self._watcher.waiting(what)) as lock:
            if kept := _read_evaluation(place):
                return kept
            self._watcher.begun(what)
            started_s = time.monotonic()
            done = run_job(
                self._evaluation_job(variant), what=what, log=self._logs / f"{variant.evaluation}.log",
                threads_count=self._threads_count, report=self._watcher.progressed, lock=lock,
            )  # fmt: skip
            evaluation = msgspec.convert(done.result, Evaluation)
            if not evaluation.faults:  # what could not be computed now may be next time
                make_folders(place.parent)
                write_durably(place, msgspec.json.encode(evaluation))
        self._watcher.ended(what, time.monotonic() - started_s)
        return evaluation

    def _evaluation_job(self, variant: PlannedVariant) -> EvaluationJob:
        recipe = self._plan.recipe
        evaluate = recipe.evaluate
        assert evaluate is not None, "asked for only with [evaluate]"
        by_name = {it.table.name: it.table.source for it in self._plan.variants}
        return EvaluationJob(
            candidate=artifact_words(self._made[variant.table.source]),
            reference=artifact_words(self._made[evaluate.reference]),
            texts=self._texts(evaluate.texts),
            tasks=tuple(msgspec.to_builtins(spec) for spec in recipe.tasks),
            folder=str(recipe.path.parent.resolve()),
            kept=str(self._workspace.kept_reference(self._plan.reference_key())),
            seed=recipe.seed,
            threads_count=self._threads_count,
            siblings={name: artifact_words(self._made[by_name[name]]) for name in variant.siblings},
            learned_from=tuple(self._texts(name) for name in variant.learned_from),
            new_space=variant.table.space != SOURCE,
            tokens_count=evaluate.tokens_count,
            speeds=evaluate.speeds,
        )


def refusals(plan: Plan, built: Sequence[BuiltVariant]) -> tuple[str, ...]:
    """Why this build must not be published; empty when it may be."""
    recipe = plan.recipe
    if recipe.evaluate is None:
        return (f"{recipe.path.name} has no [evaluate], so nothing says that the variants are any good",)
    refused = [it for it in built if not it.passed]
    if not refused or (recipe.publish.require == "any" and len(refused) < len(built)):
        return ()
    return tuple(
        f"{it.plan.table.name}: {'; '.join(it.verdict.reasons) or 'not judged'}"
        for it in refused
        if it.verdict is not None
    )


def _read_evaluation(place: Path) -> Evaluation | None:
    """One that was kept; a damaged one is made again."""
    try:
        return msgspec.json.decode(place.read_bytes(), type=Evaluation)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _files(directory: Path) -> dict[str, MadeFile]:
    files = {}
    for path in sorted(directory.rglob("*")):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise RecipeInvalidError(f"the operation made {path.name}, which is neither a file nor a folder")
        if path.is_file():
            files[path.relative_to(directory).as_posix()] = MadeFile(
                size_bytes=path.stat().st_size, sha256=digest_of_file(path)
            )
    return files
