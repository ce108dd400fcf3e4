"""The operation `mix`: the type of each group of matrices that costs least in all, in so many bytes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from origin.build.gguf.knapsack import choose
from origin.build.gguf.model_file import ModelFile, stored_bytes
from origin.build.gguf.quantize import tensor_types
from origin.build.gguf.rounded_file import EMBEDDING, gram_of, grams_for, roundable, write_rounded
from origin.build.gguf.sensitivity import groups_of, measure, measured_before
from origin.build.gguf.unquantized import refuse_quantized
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from origin.build.gguf.activations import Activations
    from origin.build.gguf.sensitivity import Cost, Group
    from origin.build.gguf_steps import Mix
    from origin.build.step import Artifact, Fact, StepWork
    from registry.formats.gguf import GgufTensor

VERSION = 1
_MEGABYTE = 1_000_000


def check(step: Mix, source: Artifact) -> None:
    """Refuse a budget that nothing fits in, and a source that is quantized already.

    Raises:
        RecipeInvalidError: with the least that would fit.
    """
    model = ModelFile(source.model_file)
    blocked = roundable(step.id, model)
    refuse_quantized(step.id, blocked)
    least = _fixed_bytes(model, blocked) + sum(
        min(stored_bytes(tensor.element_count, element) for element in _types(step, tensor.name))
        for tensor in blocked
    )
    if step.budget_mb * _MEGABYTE < least:
        raise RecipeInvalidError(
            f"step {step.id}: budget_mb {step.budget_mb:g} is too little; with the smallest types allowed it takes "
            f"{least / _MEGABYTE:.3g}",
            param="budget_mb",
        )


def run(step: Mix, work: StepWork) -> Mapping[str, Fact]:
    """Measure what each group costs, choose, and round each matrix to its type."""
    model = ModelFile(work.inputs["source"].model_file)
    blocked = roundable(step.id, model)
    names = [tensor.name for tensor in blocked]
    groups = groups_of(names, model.layers_count, step.bands, lambda name: _types(step, name))
    options, sums = _options(step, work, model, groups)
    budget_bytes = int(step.budget_mb * _MEGABYTE) - _fixed_bytes(model, blocked)
    places = choose([[(cost.size_bytes, cost.kl) for cost in group] for group in options], budget_bytes)
    if places is None:  # `check` has seen to it
        raise RecipeInvalidError(
            f"step {step.id}: budget_mb {step.budget_mb:g} is too little", param="budget_mb"
        )
    chosen = {group.name: group.types[place] for group, place in zip(groups, places, strict=True)}
    types = {name: chosen[group.name] for group in groups for name in group.matrices}
    write_rounded(model, types, work, tokens=step.tokens, sweeps=step.sweeps, label="mixed", sums=sums)
    return {
        "groups": {
            group.name: {"type": chosen[group.name], "kl_as_smallest": round(option[0].kl, 6)}
            for group, option in zip(groups, options, strict=True)
        },
        "kl_expected": round(sum(option[place].kl for option, place in zip(options, places, strict=True)), 6),
        **tensor_types(ModelFile(work.directory / "model.gguf")),
    }


def _options(
    step: Mix, work: StepWork, model: ModelFile, groups: Sequence[Group]
) -> tuple[list[list[Cost]], Activations | None]:
    """What each type costs each group, and what flows into the matrices where that was measured.

    What was measured before an interruption is read.
    """
    costs, sums = measured_before(work.checkpoints), None
    if not all(group.name in costs for group in groups):
        sums = grams_for(
            model, {name for group in groups for name in group.matrices}, work, tokens=step.tokens
        )
        costs = measure(
            model,
            groups,
            partial(gram_of, sums),
            work.texts["data"].texts,
            limit_tokens=step.trial_tokens,
            threads_count=work.threads_count,
            report=work.report,
            kept_in=work.checkpoints,
        )
    return [[costs[group.name][element] for element in group.types] for group in groups], sums


def _types(step: Mix, name: str) -> Sequence[str]:
    return step.embedding_types if name == EMBEDDING else step.types


def _fixed_bytes(model: ModelFile, blocked: Sequence[GgufTensor]) -> int:
    """What the file takes besides the matrices that are rounded: header, norms, padding."""
    rounded = {tensor.name for tensor in blocked}
    rest = sum(tensor.end - tensor.start for tensor in model if tensor.name not in rounded)
    return model.header.data_start + rest + model.header.alignment * (len(model.tensors) + 1)
