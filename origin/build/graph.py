"""Graph: which steps a recipe's variants need, in which order, and whether each is given what it can work on."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from origin.build.recipe import SOURCE
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from origin.build.recipe import Recipe
    from origin.build.step import ArtifactKind, Step

SERVED_KINDS: tuple[ArtifactKind, ...] = ("gguf", "onnx")
"""What a node's engines load."""


def inputs_of(step: Step) -> dict[str, str]:
    """The steps that a step works on, by its attribute; `source` is the model itself."""
    return {name: said for name in step.INPUTS if (said := getattr(step, name))}


def texts_of(step: Step) -> dict[str, str]:
    """The `[data.NAME]` that a step is given, by its attribute."""
    return {name: said for name in step.TEXTS if (said := getattr(step, name))}


def order_steps(recipe: Recipe, source_kind: ArtifactKind, variants: Collection[str]) -> tuple[Step, ...]:
    """The steps that these variants and what they are compared with need, each after those that it needs.

    All steps of the recipe are checked, needed or not.

    Raises:
        RecipeInvalidError: a step, a text or a variant's step that is not there; steps in a circle; a step that
            cannot work on what it is given; a variant that no node serves.
    """
    steps = {step.id: step for step in recipe.steps}
    for step in recipe.steps:
        _check_names(recipe, step, steps)
    ordered = _sorted(recipe, steps)
    kinds: dict[str, ArtifactKind] = {SOURCE: source_kind} | {it.id: it.MAKES for it in recipe.steps}
    for step in ordered:
        _check_kinds(recipe, step, kinds)
    _check_ends(recipe, kinds)
    wanted = [it.source for it in recipe.variants if it.name in variants]
    if recipe.evaluate is not None:
        wanted.append(recipe.evaluate.reference)
    needed = needed_by(wanted, steps)
    return tuple(step for step in ordered if step.id in needed)


def needed_by(ids: Iterable[str], steps: Mapping[str, Step]) -> set[str]:
    """These steps and all that they come from, without `source`."""
    needed: set[str] = set()
    waiting = [name for name in ids if name != SOURCE]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += [it for it in inputs_of(steps[name]).values() if it != SOURCE]
    return needed


def line_of(step_id: str, steps: Mapping[str, Step]) -> list[Step]:
    """The steps from the source to this one along `from`, in order."""
    line: list[Step] = []
    while step_id != SOURCE:
        line.append(steps[step_id])
        step_id = steps[step_id].source
    return line[::-1]


def _check_names(recipe: Recipe, step: Step, steps: Mapping[str, Step]) -> None:
    for attribute, said in inputs_of(step).items():
        if said != SOURCE and said not in steps:
            raise _refusal(
                recipe, "step", step.id, _key(attribute), said, "there is no step", [SOURCE, *steps]
            )
    for attribute, said in texts_of(step).items():
        if said not in recipe.data:
            raise _refusal(recipe, "step", step.id, attribute, said, "there is no [data] table", recipe.data)


def _sorted(recipe: Recipe, steps: Mapping[str, Step]) -> list[Step]:
    """Each after those that it needs; otherwise in the recipe's order."""
    ordered: dict[str, Step] = {}
    for first in recipe.steps:
        path: list[str] = [first.id]
        while path:
            step = steps[path[-1]]
            missing = [it for it in inputs_of(step).values() if it != SOURCE and it not in ordered]
            if not missing:
                ordered.setdefault(step.id, step)
                path.pop()
            elif missing[0] in path:
                circle = [*path[path.index(missing[0]) :], missing[0]]
                raise RecipeInvalidError(
                    f"{recipe.path.name}: {recipe.place_of('step', step.id)} is in a circle: each of "
                    f"{' <- '.join(circle)} needs the next; one of them has to begin with {SOURCE!r}",
                    param="step.from",
                )
            else:
                path.append(missing[0])
    return list(ordered.values())


def _check_kinds(recipe: Recipe, step: Step, kinds: Mapping[str, ArtifactKind]) -> None:
    for attribute, said in inputs_of(step).items():
        allowed, kind = step.INPUTS[attribute], kinds[said]
        if kind not in allowed:
            raise RecipeInvalidError(
                f"{recipe.path.name}: {recipe.place_of('step', step.id)}: {_key(attribute)} is {said!r}, which is "
                f"{kind}, and {step.__struct_config__.tag} works on {' or '.join(allowed)}",
                param=f"step.{_key(attribute)}",
            )


def _check_ends(recipe: Recipe, kinds: Mapping[str, ArtifactKind]) -> None:
    steps = {step.id: step for step in recipe.steps}
    for variant in recipe.variants:
        if variant.source not in kinds:
            raise _refusal(recipe, "variant", variant.name, "from", variant.source, "there is no step", kinds)
        if kinds[variant.source] not in SERVED_KINDS:
            raise RecipeInvalidError(
                f"{recipe.path.name}: {recipe.place_of('variant', variant.name)}: {variant.source!r} is "
                f"{kinds[variant.source]}, and nodes serve {' and '.join(SERVED_KINDS)}; add a step that makes one",
                param="variant.from",
            )
        line = [SOURCE, *(step.id for step in line_of(variant.source, steps))]
        if variant.space not in line:
            what = "it does not come from a step"
            raise _refusal(recipe, "variant", variant.name, "space", variant.space, what, line)
    evaluate = recipe.evaluate
    if evaluate is not None:
        if evaluate.reference not in kinds:
            what = "there is no step"
            raise _refusal(recipe, "evaluate", "", "reference", evaluate.reference, what, kinds)
        if evaluate.texts not in recipe.data:
            what = "there is no [data] table"
            raise _refusal(recipe, "evaluate", "", "texts", evaluate.texts, what, recipe.data)


def _refusal(
    recipe: Recipe, table: str, name: str, key: str, said: str, what: str, known: Iterable[str]
) -> RecipeInvalidError:
    names = sorted(known)
    near = difflib.get_close_matches(said, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none'}"
    return RecipeInvalidError(
        f"{recipe.path.name}: {recipe.place_of(table, name)}: {key} is {said!r}, and {what} of that name; {hint}",
        param=f"{table}.{key}",
    )


def _key(attribute: str) -> str:
    return "from" if attribute == "source" else attribute
