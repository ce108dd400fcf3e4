"""A variant's lineage in words: what it was made from, by which steps, and what it was measured to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.cli.terminal import printable

if TYPE_CHECKING:
    from registry.manifest import Lineage
    from registry.manifest.lineage import LineageFigure, LineageStep

_DIGITS_COUNT = 12


def lineage_text(variant: str, space_id: str, lineage: Lineage | None) -> str:
    """Some lines about one variant; what a stranger published steers no terminal."""
    head = f"{variant}" + (f", vectors of the space {space_id}" if space_id else "")
    if lineage is None:
        return printable(f"{head}: its publisher did not say what it was made from")
    lines = [
        f"{head}: made from {lineage.root_sha256[:_DIGITS_COUNT]}, recipe {lineage.recipe_sha256[:_DIGITS_COUNT]}"
    ]
    lines += [f"  step   {_step(step)}" for step in lineage.steps]
    for gate in lineage.gates:
        limits = [
            f"{word} {limit}" for word, limit in (("min", gate.min), ("max", gate.max)) if limit is not None
        ]
        value = _value(lineage.figures.get(gate.figure))
        lines.append(
            f"  gate   {gate.figure} {value}, {' '.join(limits)}: {'passed' if gate.passed else 'REFUSED'}"
        )
    gated = {gate.figure for gate in lineage.gates}
    others = [f"{name} {_value(it)}" for name, it in sorted(lineage.figures.items()) if name not in gated]
    if others:
        lines.append(f"  also   {', '.join(others)}")
    return "\n".join(map(printable, lines))


def _step(step: LineageStep) -> str:
    said = [f"{name}={value}" for name, value in step.parameters.items() if value not in ("", {}, [], None)]
    words = [f"{step.id}: {step.op} of {', '.join(step.inputs.values()) or 'nothing'}", *said]
    return f"{' '.join(words)} → {step.made_sha256[:_DIGITS_COUNT]}"


def _value(figure: LineageFigure | None) -> str:
    return "not measured" if figure is None or figure.value is None else f"{figure.value:.4g}"
