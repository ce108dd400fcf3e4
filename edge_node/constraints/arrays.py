"""Arrays: elements with places of their own, then equal ones, between two counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.constraints.expressions import EMPTY, Expression, Text, choice, optional, repeat, sequence

if TYPE_CHECKING:
    from collections.abc import Sequence


def array(
    prefix: Sequence[Expression | None],
    item: Expression | None,
    *,
    least: int,
    most: int | None,
    space: Expression,
) -> Expression | None:
    """An array of `prefix` and then `item`s; None where there is none.

    `prefix` stands at the first places, None where nothing may; `item` after them, None for nothing.
    """
    room = len(prefix) if item is None else None
    if None in prefix:
        room = list(prefix).index(None)
    most = room if most is None else most if room is None else min(most, room)
    if most is not None and most < least:
        return None
    opening, closing = sequence(Text("["), space), sequence(space, Text("]"))
    if most == 0:
        return sequence(opening, Text("]"))
    comma = sequence(Text(","), space)
    elements = _elements(list(prefix), item, least, most, comma)
    if least == 0:
        empty = choice((sequence(elements, closing), Text("]")))
        assert empty is not None, "both are some"
        return sequence(opening, empty)
    return sequence(opening, elements, closing)


def _elements(
    prefix: list[Expression | None], item: Expression | None, least: int, most: int | None, comma: Expression
) -> Expression:
    """One element or more."""
    places = len(prefix) if most is None else min(len(prefix), most)
    left_most = None if most is None else most - places
    after: Expression = EMPTY
    if item is not None and left_most != 0:
        first = 1 if not places else 0
        more = sequence(comma, item)
        least_more = max(0, least - places - first)
        after = repeat(more, least_more, None if left_most is None else left_most - first)
        if first:
            after = sequence(item, after)
    for at in reversed(range(places)):
        element = prefix[at]
        assert element is not None, "places without an element were counted out"
        after = sequence(element if at == 0 else sequence(comma, element), after)
        if at > 0 and least <= at:
            after = optional(after)
    return after
