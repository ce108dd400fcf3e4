"""Whether no value satisfies two schemas: then `oneOf` is the same as `anyOf`, which a grammar can say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_node.constraints.keywords import TYPES
from edge_node.constraints.plain import property_of, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge_node.constraints.plain import Conjunction, PlainSchema

    Flatten = Callable[[Conjunction], Sequence[PlainSchema]]

_LIMIT_DEPTH = 3


def apart(one: PlainSchema, other: PlainSchema, flatten: Flatten, depth: int = 0) -> bool:
    """It is certain that no answer written for either schema satisfies the other; False when that cannot be seen."""
    if (
        one.allowed is not None
        and other.allowed is not None
        and not one.allowed.keys() & other.allowed.keys()
    ):
        return True
    common = _types(one) & _types(other)
    return all(_apart_as(name, one, other, flatten, depth) for name in common)


def _types(schema: PlainSchema) -> set[str]:
    if schema.allowed is not None:
        found = {type_of(value) for value in schema.allowed.values()}
        return found | {"number"} if "integer" in found else found
    types = schema.types if schema.types is not None else frozenset(TYPES)
    # A whole number is both: to the schema `number` it is one of its values.
    return set(types) | {"integer"} if "number" in types else set(types)


def _apart_as(name: str, one: PlainSchema, other: PlainSchema, flatten: Flatten, depth: int) -> bool:
    if name in {"integer", "number"}:
        return _below(one, other) or _below(other, one)
    if name == "object":
        return _objects_apart(one, other, flatten, depth)
    if name == "array":
        return _shorter(one.most_items, other.least_items) or _shorter(other.most_items, one.least_items)
    if name == "string":
        return _shorter(one.most_length, other.least_length) or _shorter(other.most_length, one.least_length)
    return False


def _objects_apart(one: PlainSchema, other: PlainSchema, flatten: Flatten, depth: int) -> bool:
    if depth < _LIMIT_DEPTH:
        for name in set(one.required) & set(other.required):
            mine, its = flatten(property_of(one, name)), flatten(property_of(other, name))
            if all(apart(left, right, flatten, depth + 1) for left in mine for right in its):
                return True
    # Answers to a schema that names its properties have no others, unless it says so.
    return _lacks(one, other) and _lacks(other, one)


def _lacks(one: PlainSchema, other: PlainSchema) -> bool:
    """No answer to the first has a property that the second requires."""
    if one.properties is None or (one.others and any(part.schema is not False for part in one.others)):
        return False
    return any(name not in one.properties and name not in one.required for name in other.required)


def _below(one: PlainSchema, other: PlainSchema) -> bool:
    if one.most is None or other.least is None:
        return False
    if one.most.value == other.least.value:
        return one.most.open or other.least.open
    return one.most.value < other.least.value


def _shorter(most: int | None, least: int) -> bool:
    return most is not None and most < least
