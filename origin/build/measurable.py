"""Measurable: whether an evaluation will measure what a recipe's gates limit, asked before anything is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.build.evaluate.figures import COMPARABLE, OF_CHAT, OF_ENCODERS, OF_TASKS, SPEEDUPS
from origin.build.recipe import SOURCE
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from origin.build.gates import Limit
    from origin.build.recipe import Recipe, VariantTable
    from origin.build.step import ArtifactKind


def check_measurable(recipe: Recipe, source_kind: ArtifactKind) -> None:
    """Refuse what would be refused when everything is built: figures that nothing measures of these variants.

    Raises:
        RecipeInvalidError: names the variant, the figure, and what to write instead.
    """
    if recipe.evaluate is None:
        return
    kinds = {SOURCE: source_kind} | {step.id: step.MAKES for step in recipe.steps}
    of_variants = {variant.name: kinds[variant.source] for variant in recipe.variants}
    for variant in recipe.variants:
        kind, reference = of_variants[variant.name], kinds[recipe.evaluate.reference]
        if reference not in COMPARABLE.get(kind, ()):
            raise _refusal(
                recipe, variant, f"it is {kind}, and is judged beside {' or '.join(COMPARABLE[kind])}; reference in "
                f"[evaluate] is {recipe.evaluate.reference!r}, which is {reference}",
            )  # fmt: skip
        for figure, limit in (recipe.gates_of(variant.name) or {}).items():
            if reason := _reason(recipe, kind, reference, of_variants, figure, limit):
                raise _refusal(recipe, variant, f"its gate limits {figure}, {reason}")


def _reason(
    recipe: Recipe,
    kind: ArtifactKind,
    reference: ArtifactKind,
    of_variants: Mapping[str, ArtifactKind],
    figure: str,
    limit: Limit,
) -> str:
    """Why a figure will not be measured; empty if it will."""
    assert recipe.evaluate is not None, "asked for only with [evaluate]"
    if figure in (OF_ENCODERS if kind == "gguf" else OF_CHAT):
        return f"which is not measured of {'chat models' if kind == 'gguf' else 'encoders'}"
    task = OF_TASKS.get(figure)
    if task is not None and task not in {str(spec.__struct_config__.tag) for spec in recipe.tasks}:
        return f'and there is no [[task]] of kind = "{task}"'
    if figure not in SPEEDUPS:
        return ""
    if not recipe.evaluate.speeds:
        return "and [evaluate] says speeds = false"
    partner = of_variants[limit.vs] if limit.vs else reference
    if partner != kind:
        whose = repr(limit.vs) if limit.vs else "the reference"
        return f'and {whose} is {partner}, with which {kind} cannot be raced: say vs = "VARIANT"'
    return ""


def _refusal(recipe: Recipe, variant: VariantTable, what: str) -> RecipeInvalidError:
    return RecipeInvalidError(
        f"{recipe.path.name}: {recipe.place_of('variant', variant.name)}: {what}", param="gate"
    )
