"""Which variant of a release a node takes: the best one that fits its memory, its processor and its patience.

Variants may give vectors of several spaces (`registry.manifest.Variant.space_id`). The first variant says which of them
the release's name stands for; one of another space is taken only where it is named.

The best is the one with the most bytes, so with the least lost in quantization, of those that are expected to write at
least as fast as people read; when none is, the fastest. A variant that nobody has measured is given the benefit of the
doubt: it is measured when it has been loaded, and the next choice knows. When all need more memory than there is, the
one that needs least is taken: what is needed is an estimate on the safe side, and weights are mapped, not copied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_node.engine_room import EngineRoom
from edge_node.errors import VariantUnfitError
from registry.manifest import Needs

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from registry.manifest import Manifest, Variant

SERVABLE_KINDS = ("gguf", "onnx")
AUTO = "auto"
READING_TOKENS_PER_S = 10.0
"""As fast as a quick reader reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a node may use.

    Attributes:
        memory_bytes: for all engines, so for the largest one; None is without limit.
        features: of the CPU, in the kernel's words; None when nobody knows.
        speeds: for each quantization that was tried here the bytes of weights that it gets through in a second of
            writing; tokens/s is this over the size of a model.
        context_tokens: prompt plus answer; 0 is what each model takes by itself.
        room: how llama engines are run here.
        variant: the one to take whatever it needs, where a release has it, or `auto`.
    """

    memory_bytes: int | None = None
    features: frozenset[str] | None = None
    speeds: Mapping[str, float] = field(default_factory=dict)
    context_tokens: int = 0
    room: EngineRoom = field(default_factory=EngineRoom)
    variant: str = AUTO


_SPEED_FEATURES = frozenset({
    "amx_bf16", "amx_int8", "asimd", "asimddp", "avx", "avx2", "avx512_bf16", "avx512_vnni", "avx512bw", "avx512f",
    "avx_vnni", "bf16", "f16c", "fma", "i8mm", "sse4_2", "sve", "sve2",
})  # fmt: skip


def speed_features(features: Collection[str]) -> tuple[str, ...]:
    """Those of the CPU's features on which the speed of inference depends."""
    return tuple(sorted(_SPEED_FEATURES.intersection(features)))


def choose_variant(manifest: Manifest, machine: Machine, *, among: Collection[str] | None = None) -> Variant:
    """The variant of a release that suits a machine best; the first one if no engine can run any.

    Args:
        manifest: of the release.
        machine: where it is to run.
        among: the names to choose from; None is all.

    Raises:
        VariantUnfitError: every variant needs a CPU that can do more.
    """
    there = [variant for variant in manifest.variants if among is None or variant.name in among]
    servable = [variant for variant in there if variant.kind in SERVABLE_KINDS]
    if not servable:
        return (there or list(manifest.variants))[0]
    named = next((variant for variant in servable if variant.name == machine.variant), None)
    if named is not None:
        return named
    space = manifest.variants[0].space_id
    servable = [variant for variant in servable if variant.space_id == space] or servable
    able = [variant for variant in servable if not _missing(variant, machine)]
    if not able:
        why = "; ".join(f"{it.name} needs a CPU with {', '.join(_missing(it, machine))}" for it in servable)
        raise VariantUnfitError(
            f"no variant of {manifest.name}@{manifest.version} runs on this node: {why}. Publish one without, "
            "name the one to take all the same in node.variant, or leave the model out of node.follows"
        )
    fitting = [variant for variant in able if fits(variant, machine)]
    if not fitting:
        return min(able, key=lambda variant: memory_bytes(variant, machine))
    quick = [variant for variant in fitting if _is_quick(variant, machine)]
    if quick:
        return max(quick, key=lambda variant: variant.total_bytes)
    return max(fitting, key=lambda variant: _tokens_per_s(variant, machine) or 0.0)


def memory_bytes(variant: Variant, machine: Machine) -> int:
    """What a variant takes in an engine of a node, when that has all that it may have."""
    needs = variant.needs or Needs(memory_bytes=variant.total_bytes)
    if not needs.token_bytes:
        return needs.memory_bytes
    context_tokens = needs.context_tokens
    if machine.context_tokens:
        context_tokens = min(machine.context_tokens, variant.context_tokens or machine.context_tokens)
    bare_bytes = needs.memory_bytes - needs.context_tokens * needs.token_bytes
    return bare_bytes + machine.room.expected_bytes(context_tokens, token_bytes=needs.token_bytes)


def fits(variant: Variant, machine: Machine) -> bool:
    """Whether a machine has the memory for a variant."""
    return machine.memory_bytes is None or memory_bytes(variant, machine) <= machine.memory_bytes


def _missing(variant: Variant, machine: Machine) -> list[str]:
    """The features of the CPU that a variant cannot do without and the machine lacks."""
    if variant.needs is None or machine.features is None:
        return []
    return [name for name in variant.needs.features if name not in machine.features]


def _tokens_per_s(variant: Variant, machine: Machine) -> float | None:
    """How fast it will write, as far as that is known."""
    speed = machine.speeds.get(variant.quantization)
    return None if speed is None or not variant.total_bytes else speed / variant.total_bytes


def _is_quick(variant: Variant, machine: Machine) -> bool:
    expected = _tokens_per_s(variant, machine)
    return expected is None or expected >= READING_TOKENS_PER_S
