"""From what was built to the lineage that a manifest carries, and the space that its vectors are in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.build.graph import inputs_of, needed_by, texts_of
from origin.build.recipe import SOURCE
from origin.build.step import MODEL_FILES
from registry.manifest import Lineage, pack_lineage
from registry.manifest.lineage import LineageFigure, LineageGate, LineageStep, Reproducible

if TYPE_CHECKING:
    from origin.build.building import BuiltVariant
    from origin.build.planning import Plan
    from origin.build.record import StepRecord
    from origin.build.step import ArtifactKind
    from origin.build.workspace import Workspace

_SPACE_DIGITS_COUNT = 16
_REPRODUCIBLE: dict[str, Reproducible] = {"exact": "exact", "no": "no"}


def lineage_of_build(plan: Plan, built: BuiltVariant, workspace: Workspace) -> bytes:
    """The lineage of a variant, packed.

    Raises:
        InputInvalidError: it is too long for a manifest.
    """
    recipe = plan.recipe
    steps = {step.id: step for step in recipe.steps}
    needed = needed_by([built.plan.table.source], steps)
    parts = []
    for planned in plan.steps:
        if planned.step.id in needed:
            found = workspace.artifact(planned.key)
            assert found is not None, "all steps are done"
            parts.append(_step(planned.step.id, inputs_of(planned.step), texts_of(planned.step), found[1]))
    made = {part.id: part.made_sha256 for part in parts} | {SOURCE: plan.source.weights_sha256}
    line = built.plan.line
    texts = {name: plan.texts[name].sha256 for part in parts for name in part.texts.values()}
    evaluation, verdict = built.evaluation, built.verdict
    if recipe.evaluate is not None:
        texts[recipe.evaluate.texts] = plan.texts[recipe.evaluate.texts].sha256
    lineage = Lineage(
        root_sha256=plan.source.weights_sha256,
        parent_sha256=made[line[-1].source if line else SOURCE],
        recipe_sha256=recipe.sha256,
        seed=recipe.seed,
        steps=tuple(parts),
        texts_sha256=texts,
        reference="" if recipe.evaluate is None else recipe.evaluate.reference,
        figures={}
        if evaluation is None
        else {
            name: LineageFigure(value=it.value, low=it.low, high=it.high)
            for name, it in evaluation.figures.items()
        },
        gates=()
        if verdict is None
        else tuple(
            LineageGate(figure=row.name, min=row.limit.min, max=row.limit.max, passed=row.passed)
            for row in verdict.rows
        ),
        tools={} if evaluation is None else evaluation.versions,
    )
    return pack_lineage(lineage)


def space_of(plan: Plan, built: BuiltVariant, workspace: Workspace) -> str:
    """The space of a variant's vectors: named by the weights that gave rise to it; "" for a model that gives none."""
    if built.artifact.kind != "onnx":
        return ""
    space = built.plan.table.space
    if space == SOURCE:
        return plan.source.weights_sha256[:_SPACE_DIGITS_COUNT]
    found = workspace.artifact(plan.keys[space])
    assert found is not None, "all steps are done"
    return _weights_sha256(found[1])[:_SPACE_DIGITS_COUNT]


def _step(step_id: str, inputs: dict[str, str], texts: dict[str, str], record: StepRecord) -> LineageStep:
    facts = dict(record.facts)
    said = facts.pop("reproducible", "")
    return LineageStep(
        id=step_id,
        op=record.op,
        version=record.version,
        parameters=record.parameters,
        inputs=inputs,
        texts=texts,
        made_sha256=_weights_sha256(record),
        reproducible=_REPRODUCIBLE.get(str(said), "same_tools"),
        facts=facts,
        tools=record.tools,
    )


def _weights_sha256(record: StepRecord) -> str:
    kind: ArtifactKind = record.kind
    return record.files[MODEL_FILES[kind]].sha256
