"""A schema without references and combinators, and two of them in one: what satisfies both.

Parts of it are conjunctions: several places of the schema that all have to be satisfied. So merging two schemas is
putting together what they say, word by word, and nothing is made up that has no place.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edge_node.constraints.decimals import Bound
from edge_node.constraints.keywords import TYPE_BY_WORDS, TYPES
from edge_node.constraints.places import Placed, SchemaRefusedError, below

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Conjunction = tuple[Placed, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PlainSchema:
    """What one schema says, each word; None and empty where it says nothing.

    Attributes:
        types: None for every type.
        allowed: the values of `enum` and `const` by their spelling (`spelled`).
        rest: what properties without a name here, and elements without a place here, have to satisfy.
    """

    pointer: str
    types: frozenset[str] | None = None
    allowed: Mapping[str, Any] | None = None
    least: Bound | None = None
    most: Bound | None = None
    divisor: float | None = None
    least_length: int = 0
    most_length: int | None = None
    pattern: str | None = None
    format: str | None = None
    prefix: tuple[Conjunction, ...] = ()
    items: Conjunction = ()
    least_items: int = 0
    most_items: int | None = None
    properties: Mapping[str, Conjunction] | None = None
    required: tuple[str, ...] = ()
    others: Conjunction = ()
    names: Conjunction = ()
    least_properties: int = 0
    most_properties: int | None = None


def plain(schema: Mapping[str, Any], pointer: str) -> PlainSchema:
    """The words of a checked schema, its references and combinators left out."""
    placed = Placed(schema, pointer)
    allowed = None
    if "enum" in schema or "const" in schema:
        values = [schema["const"]] if "const" in schema else schema["enum"]
        allowed = {spelled(value): value for value in values}
        if "const" in schema and "enum" in schema:
            allowed = {key: value for key, value in allowed.items() if key in map(spelled, schema["enum"])}
    lows = [
        Bound(schema[word], word != "minimum") for word in ("minimum", "exclusiveMinimum") if word in schema
    ]
    highs = [
        Bound(schema[word], word != "maximum") for word in ("maximum", "exclusiveMaximum") if word in schema
    ]
    return PlainSchema(
        pointer=pointer,
        types=_types(schema),
        allowed=allowed,
        least=_tighter(lows, up=True),
        most=_tighter(highs, up=False),
        divisor=schema.get("multipleOf"),
        least_length=int(schema.get("minLength", 0)),
        most_length=_count(schema, "maxLength"),
        pattern=schema.get("pattern"),
        format=schema.get("format"),
        prefix=tuple(
            (placed.at("prefixItems", index),) for index in range(len(schema.get("prefixItems", ())))
        ),
        items=(placed.at("items"),) if "items" in schema else (),
        least_items=int(schema.get("minItems", 0)),
        most_items=_count(schema, "maxItems"),
        properties={name: (placed.at("properties", name),) for name in schema["properties"]}
        if "properties" in schema
        else None,
        required=tuple(dict.fromkeys(schema.get("required", ()))),
        others=(placed.at("additionalProperties"),) if "additionalProperties" in schema else (),
        names=(placed.at("propertyNames"),) if "propertyNames" in schema else (),
        least_properties=int(schema.get("minProperties", 0)),
        most_properties=_count(schema, "maxProperties"),
    )


def both(one: PlainSchema, other: PlainSchema) -> PlainSchema:
    """What satisfies one and the other.

    Raises:
        SchemaRefusedError: two words that cannot be told as one.
    """
    positions = range(max(len(one.prefix), len(other.prefix)))
    return PlainSchema(
        pointer=one.pointer,
        types=_both_types(one.types, other.types),
        allowed=_both_allowed(one.allowed, other.allowed),
        least=_tighter([bound for bound in (one.least, other.least) if bound], up=True),
        most=_tighter([bound for bound in (one.most, other.most) if bound], up=False),
        divisor=_both_divisors(one, other),
        least_length=max(one.least_length, other.least_length),
        most_length=_lower(one.most_length, other.most_length),
        pattern=_same("pattern", one, other),
        format=_same("format", one, other),
        prefix=tuple(_all_of(_element(one, at), _element(other, at)) for at in positions),
        items=_all_of(one.items, other.items),
        least_items=max(one.least_items, other.least_items),
        most_items=_lower(one.most_items, other.most_items),
        properties=_both_properties(one, other),
        required=tuple(dict.fromkeys(one.required + other.required)),
        others=_all_of(one.others, other.others),
        names=_all_of(one.names, other.names),
        least_properties=max(one.least_properties, other.least_properties),
        most_properties=_lower(one.most_properties, other.most_properties),
    )


def requiring(schema: PlainSchema, name: str) -> PlainSchema:
    """The same with one more property that has to be there."""
    return replace(schema, required=tuple(dict.fromkeys((*schema.required, name))))


def spelled(value: Any) -> str:
    """A value's one spelling: equal values of JSON have the same, 1 and 1.0 too, 1 and true not."""
    return json.dumps(_whole(value), sort_keys=True, allow_nan=False)


def type_of(value: Any) -> str:
    """The JSON type of a value; a whole number is an integer."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "integer" if isinstance(value, int) or value.is_integer() else "number"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "object"


def _whole(value: Any) -> Any:
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    return {key: _whole(item) for key, item in value.items()} if isinstance(value, dict) else value


def _types(schema: Mapping[str, Any]) -> frozenset[str] | None:
    """As said; else as the other words suggest, which speak of one type each and would bind no other."""
    said = schema.get("type")
    if said is not None:
        return frozenset(said if isinstance(said, list) else [said])
    if "enum" in schema or "const" in schema:
        return None
    suggested = {name for words, name in TYPE_BY_WORDS if words & schema.keys()}
    return frozenset(suggested) or None


def _both_types(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    if one is None or other is None:
        return other if one is None else one
    wide_one = one | {"integer"} if "number" in one else one
    wide_other = other | {"integer"} if "number" in other else other
    return frozenset(name for name in TYPES if name in wide_one and name in wide_other)


def _both_allowed(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if one is None or other is None:
        return other if one is None else one
    return {key: value for key, value in one.items() if key in other}


def _both_divisors(one: PlainSchema, other: PlainSchema) -> float | None:
    if one.divisor is None or other.divisor is None or one.divisor == other.divisor:
        return other.divisor if one.divisor is None else one.divisor
    if float(one.divisor).is_integer() and float(other.divisor).is_integer():
        return math.lcm(int(one.divisor), int(other.divisor))
    raise SchemaRefusedError(
        below(other.pointer, "multipleOf"), "two divisors with fractions cannot be combined"
    )


def _both_properties(one: PlainSchema, other: PlainSchema) -> Mapping[str, Conjunction] | None:
    if one.properties is None and other.properties is None:
        return None
    names = dict.fromkeys((*(one.properties or ()), *(other.properties or ())))
    return {name: _all_of(property_of(one, name), property_of(other, name)) for name in names}


def property_of(schema: PlainSchema, name: str) -> Conjunction:
    """What a property of this name has to satisfy."""
    return (schema.properties or {}).get(name, schema.others)


def _all_of(one: Conjunction, other: Conjunction) -> Conjunction:
    """Both, each place once."""
    return tuple({placed.pointer: placed for placed in one + other}.values())


def _element(schema: PlainSchema, at: int) -> Conjunction:
    return schema.prefix[at] if at < len(schema.prefix) else schema.items


def _same(word: str, one: PlainSchema, other: PlainSchema) -> str | None:
    mine, its = getattr(one, word), getattr(other, word)
    if mine is not None and its is not None and mine != its:
        raise SchemaRefusedError(below(other.pointer, word), f"two of `{word}` cannot be enforced together")
    found: str | None = its if mine is None else mine
    return found


def _tighter(bounds: list[Bound], *, up: bool) -> Bound | None:
    """The bound that leaves less; of equal ones the open one."""
    if not bounds:
        return None
    pick: Callable[..., Bound] = max if up else min
    return pick(bounds, key=lambda bound: (bound.value, bound.open if up else not bound.open))


def _lower(one: int | None, other: int | None) -> int | None:
    return min((count for count in (one, other) if count is not None), default=None)


def _count(schema: Mapping[str, Any], word: str) -> int | None:
    return int(schema[word]) if word in schema else None
