"""Objects: named properties in the order of the schema, optional ones left out or not, then others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_node.constraints.expressions import EMPTY, Expression, Text, choice, optional, repeat, sequence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.constraints.gbnf import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Property:
    """One property with its name, as it is written."""

    entry: Expression
    required: bool


def entries(
    properties: Sequence[Property],
    other: Expression | None,
    *,
    least_others: int,
    most_others: int | None,
    may_be_empty: bool,
    rules: Rules,
    space: Expression,
) -> Expression:
    """An object of these properties, and of `other` entries where there are any.

    `least_others` is how many other entries there are at least; only without properties.
    """
    comma = sequence(Text(","), space)
    closing = sequence(space, Text("}"))
    more_others: Expression = EMPTY if other is None else repeat(sequence(comma, other), 0, most_others)
    # rests[i] is what may follow an entry when the properties from i on are still to come.
    rests: list[Expression] = [sequence(more_others, closing)]
    for each in reversed(properties):
        following = sequence(comma, each.entry)
        rest = sequence(following if each.required else optional(following), rests[0])
        rests.insert(0, rules.named("rest", rest))
    options: list[Expression] = []
    for at, each in enumerate(properties):
        options.append(sequence(each.entry, rests[at + 1]))
        if each.required:
            break
    else:
        if other is not None and most_others != 0:
            most = None if most_others is None else most_others - 1
            tail = repeat(sequence(comma, other), max(0, least_others - 1), most)
            options.append(sequence(other, tail, closing))
        if may_be_empty:
            options.append(Text("}"))
    found = choice(options)
    assert found is not None, "the caller leaves a way to close"
    return sequence(Text("{"), space, found)
