"""Plan: what a build would do, what of it is done already, and everything that can be refused before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from origin.build.gates import check_gates
from origin.build.graph import inputs_of, line_of, needed_by, order_steps, texts_of
from origin.build.keys import key_of, module_version, step_key
from origin.build.measurable import check_measurable
from origin.build.recipe import SOURCE
from origin.build.sizes import expected_size, size_of
from origin.build.source import digest_of_file, find_source
from origin.build.step import MODEL_FILES
from origin.build.texts import read_texts
from origin.errors import RecipeInvalidError
from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from origin.build.gates import Limit
    from origin.build.recipe import Recipe, VariantTable
    from origin.build.sizes import Size
    from origin.build.source import Source
    from origin.build.step import Step
    from origin.build.texts import TextSet
    from origin.build.workspace import Workspace

_EVALUATION = "origin.build.evaluate.evaluation"
_REFERENCES = ("origin.build.evaluate.chat", "origin.build.evaluate.encoders")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One step that a build needs.

    Attributes:
        key: of what it makes.
        version: of its operation.
        inputs: the keys of its inputs, by attribute.
        texts: the names of its texts, by attribute.
        done: it is made already.
        begun: an earlier build was interrupted in it, and left a checkpoint.
        weights_bytes: the size of the file of weights, expected where it is not made; None when nobody knows.
        took_s: what it took, where it is done.
    """

    step: Step
    key: str
    version: int
    inputs: Mapping[str, str]
    texts: Mapping[str, str]
    done: bool
    begun: bool
    weights_bytes: int | None
    took_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedVariant:
    """One variant that a build makes.

    Attributes:
        key: of its artifact.
        line: the steps from the source to it along `from`.
        learned_from: the names of all texts that any step on its way was given.
        gates: what it must reach; None is the default.
        siblings: the keys of the variants that its speed is held against, by their names.
        evaluation: the key under which its evaluation is kept; None where the recipe has no `[evaluate]`.
        evaluated: it is there.
    """

    table: VariantTable
    key: str
    line: tuple[Step, ...]
    learned_from: tuple[str, ...]
    gates: Mapping[str, Limit] | None
    siblings: Mapping[str, str]
    evaluation: str | None
    evaluated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a build does.

    Attributes:
        texts: those that any step or evaluation is given, by name.
        steps: those that are needed, each after those that it needs.
        keys: of the source and of what each of these steps makes.
    """

    recipe: Recipe
    source: Source
    texts: Mapping[str, TextSet]
    steps: tuple[PlannedStep, ...]
    variants: tuple[PlannedVariant, ...]
    keys: Mapping[str, str]

    @property
    def kept_keys(self) -> frozenset[str]:
        """Everything in a workspace that this build would use again."""
        evaluations = {it.evaluation for it in self.variants if it.evaluation}
        return frozenset({*self.keys.values(), *evaluations, *self._references()})

    def reference_key(self) -> str:
        """Under which the workspace keeps what the reference gives for all that is judged on.

        0.8 GB for a chat model: all that the rest depends on is in it, so that cleaning takes what no longer holds.
        """
        evaluate = self.recipe.evaluate
        assert evaluate is not None, "without [evaluate] there is no reference"
        return key_of({
            "versions": [module_version(name) for name in _REFERENCES],
            "judged_beside": self.judged_beside(),
            "tasks": _tasks(self.recipe),
            "tokens_count": evaluate.tokens_count,
        })  # fmt: skip

    def judged_beside(self) -> str:
        """What the variants are held against, and over which texts."""
        evaluate = self.recipe.evaluate
        assert evaluate is not None, "without [evaluate] there is no reference"
        return key_of([self.keys[evaluate.reference], self.texts[evaluate.texts].sha256])

    def _references(self) -> set[str]:
        return set() if self.recipe.evaluate is None else {self.reference_key()}


def plan_build(
    recipe: Recipe, workspace: Workspace, *, source_path: Path | None = None, only: Collection[str] = ()
) -> Plan:
    """Look at the source and the texts, and find out what is to be done.

    Args:
        recipe: what to build.
        workspace: where it is built.
        source_path: takes the place of the recipe's source.
        only: names of variants; none means all.

    Raises:
        RecipeInvalidError: it cannot be built.
    """
    folder = recipe.path.parent
    if source_path is None and not recipe.model.source:
        raise RecipeInvalidError(
            f"{recipe.path.name} names no source; say where it is: source in [model], or --source PATH",
            param="model.source",
        )
    variants = _chosen(recipe, only)
    names = {it.name for it in recipe.variants}
    for variant in recipe.variants:
        if gates := recipe.gates_of(variant.name):
            check_gates(gates, frozenset(names - {variant.name}))
    source = find_source(source_path or folder / recipe.model.source, sha256=recipe.model.sha256)
    steps = order_steps(recipe, source.kind, [it.name for it in variants])
    check_measurable(recipe, source.kind)
    texts = _texts(recipe, steps)
    planned: list[PlannedStep] = []
    keys = {SOURCE: source.key}
    sizes = {SOURCE: size_of(source.kind, source.files[MODEL_FILES[source.kind]])}
    for step in steps:
        one, sizes[step.id] = _planned(step, recipe, workspace, keys, texts, sizes)
        keys[step.id] = one.key
        planned.append(one)
    plan = Plan(recipe=recipe, source=source, texts=texts, steps=tuple(planned), variants=(), keys=keys)
    by_name = {variant.name: variant for variant in recipe.variants}
    made = tuple(_variant(plan, by_name, variant, workspace) for variant in variants)
    plan = Plan(recipe=recipe, source=source, texts=texts, steps=tuple(planned), variants=made, keys=keys)
    _check_leaks(plan)
    return plan


def _chosen(recipe: Recipe, only: Collection[str]) -> list[VariantTable]:
    """The variants of these names, with those that their speed is held against."""
    names = {it.name for it in recipe.variants}
    wanted = set(only) or names
    for name in sorted(wanted - names):
        raise InputInvalidError(
            f"{recipe.path.name} has no variant {name!r}; it has: {', '.join(sorted(names))}", param="only"
        )
    for name in list(wanted):
        wanted |= {limit.vs for limit in (recipe.gates_of(name) or {}).values() if limit.vs}
    return [it for it in recipe.variants if it.name in wanted]


def _texts(recipe: Recipe, steps: tuple[Step, ...]) -> dict[str, TextSet]:
    wanted = {name for step in steps for name in texts_of(step).values()}
    if recipe.evaluate is not None:
        wanted.add(recipe.evaluate.texts)
    texts = {}
    for name in sorted(wanted):
        table = recipe.data[name]
        files = [recipe.path.parent / file for file in table.files]
        try:
            texts[name] = read_texts(name, files, seed=table.seed, limit_count=table.limit_count)
        except InputInvalidError as error:
            raise RecipeInvalidError(f"{recipe.path.name}: {error.message}", param=f"data.{name}") from error
        if table.sha256 and table.sha256 != texts[name].sha256:
            raise RecipeInvalidError(
                f"{recipe.path.name}: the documents of [data.{name}] have the SHA-256 {texts[name].sha256}, and the "
                f"recipe wants {table.sha256}: these are other texts",
                param=f"data.{name}.sha256",
            )
    return texts


def _planned(
    step: Step,
    recipe: Recipe,
    workspace: Workspace,
    keys: Mapping[str, str],
    texts: Mapping[str, TextSet],
    sizes: Mapping[str, Size | None],
) -> tuple[PlannedStep, Size | None]:
    inputs = {name: keys[said] for name, said in inputs_of(step).items()}
    named = texts_of(step)
    version = module_version(step.MODULE)
    digests = {name: texts[said].sha256 for name, said in named.items()}
    key = step_key(step, version, inputs, digests, recipe.seed)
    made = workspace.artifact(key)
    if made is None:
        before = sizes.get(step.source)
        size = None if before is None else expected_size(step, before)
        weights_bytes, took_s = None if size is None else size.weights_bytes, None
    else:
        size = size_of(step.MAKES, made[0].model_file)
        weights_bytes, took_s = made[0].model_file.stat().st_size, made[1].took_s
    planned = PlannedStep(
        step=step,
        key=key,
        version=version,
        inputs=inputs,
        texts=named,
        done=made is not None,
        begun=workspace.has_begun(key),
        weights_bytes=weights_bytes,
        took_s=took_s,
    )
    return planned, size


def _variant(
    plan: Plan, by_name: Mapping[str, VariantTable], variant: VariantTable, workspace: Workspace
) -> PlannedVariant:
    recipe = plan.recipe
    steps = {step.id: step for step in recipe.steps}
    needed = needed_by([variant.source], steps)
    learned_from = sorted({name for it in needed for name in texts_of(steps[it]).values()})
    gates = recipe.gates_of(variant.name)
    siblings = {limit.vs: plan.keys[by_name[limit.vs].source] for limit in (gates or {}).values() if limit.vs}
    key = plan.keys[variant.source]
    evaluation = None
    if recipe.evaluate is not None:
        evaluation = key_of({
            "version": module_version(_EVALUATION),
            "candidate": key,
            "reference": plan.judged_beside(),
            "tasks": _tasks(recipe),
            "seed": recipe.seed,
            "siblings": siblings,
            "learned_from": [plan.texts[name].sha256 for name in learned_from],
            "new_space": variant.space != SOURCE,
            "tokens_count": recipe.evaluate.tokens_count,
            "speeds": recipe.evaluate.speeds,
        })  # fmt: skip
    return PlannedVariant(
        table=variant,
        key=key,
        line=tuple(line_of(variant.source, steps)),
        learned_from=tuple(learned_from),
        gates=gates,
        siblings=siblings,
        evaluation=evaluation,
        evaluated=evaluation is not None and workspace.evaluation(evaluation).is_file(),
    )


def _tasks(recipe: Recipe) -> list[dict[str, object]]:
    """What the tasks say, with the digests of their files."""
    plain = []
    for spec in recipe.tasks:
        table = msgspec.to_builtins(spec)
        for name, said in table.items():
            if isinstance(said, str) and name != "kind":
                table[name] = digest_of_file(recipe.path.parent / said)
        plain.append(table)
    return plain


def _check_leaks(plan: Plan) -> None:
    """Refuse to judge on what was learned from, before hours of work."""
    evaluate = plan.recipe.evaluate
    if evaluate is None:
        return
    judged = plan.texts[evaluate.texts]
    for name in sorted({name for variant in plan.variants for name in variant.learned_from}):
        if shared := judged.overlap_count(plan.texts[name]):
            raise RecipeInvalidError(
                f"{plan.recipe.path.name}: [data.{evaluate.texts}] is what the variants are judged on, and {shared} of "
                f"its {len(judged.texts)} documents are in [data.{name}] too, which steps learn from: take others",
                param="evaluate.texts",
            )
