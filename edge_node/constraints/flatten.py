"""A conjunction of schemas as alternatives without references, `allOf`, `anyOf` and `oneOf`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from edge_node.constraints.disjoint import apart
from edge_node.constraints.keywords import ANNOTATIONS, NAMING, check_words
from edge_node.constraints.places import Placed, SchemaRefusedError, below, referred
from edge_node.constraints.plain import PlainSchema, both, plain, requiring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge_node.constraints.plain import Conjunction

LIMIT_ALTERNATIVES_COUNT = 256
LIMIT_ONE_OF_COUNT = 64
LIMIT_DEPTH = 40


@dataclass(frozen=True, slots=True)
class Reference:
    """An alternative that is nothing but another part of the schema: it becomes a rule of its own."""

    target: Placed


Alternative = PlainSchema | Reference


class Flattener:
    """Takes apart the schemas of one document."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._flat_by_pointer: dict[str, list[PlainSchema]] = {}

    def alternatives(self, conjunction: Conjunction) -> list[Alternative]:
        """What a value may be; nothing when no value will do.

        Raises:
            SchemaRefusedError: it cannot be enforced.
        """
        if len(conjunction) == 1:
            return self._options(conjunction[0])
        return list(self.flat(conjunction))

    def flat(self, conjunction: Conjunction, depth: int = 0) -> list[PlainSchema]:
        """The same with the references followed."""
        found = [PlainSchema(pointer=conjunction[0].pointer if conjunction else "")]
        for placed in conjunction:
            if depth > LIMIT_DEPTH:
                raise SchemaRefusedError(placed.pointer, "it goes round in circles, or is nested too deeply")
            found = _each_with_each(found, self._flat_one(placed, depth), placed.pointer)
        return found

    def _flat_one(self, placed: Placed, depth: int) -> list[PlainSchema]:
        """Each place is taken apart once: schemas that double at every level would never end otherwise."""
        known = self._flat_by_pointer.get(placed.pointer)
        if known is None:
            known = self._followed(self._options(placed, depth), depth)
            self._flat_by_pointer[placed.pointer] = known
        return known

    def _followed(self, alternatives: Sequence[Alternative], depth: int) -> list[PlainSchema]:
        found: list[PlainSchema] = []
        for alternative in alternatives:
            if isinstance(alternative, Reference):
                found.extend(self.flat((alternative.target,), depth + 1))
            else:
                found.append(alternative)
        return found

    def _options(self, placed: Placed, depth: int = 0) -> list[Alternative]:
        if placed.schema is True:
            return [PlainSchema(pointer=placed.pointer)]
        if placed.schema is False:
            return []
        if depth > LIMIT_DEPTH:
            raise SchemaRefusedError(placed.pointer, "it goes round in circles, or is nested too deeply")
        schema = check_words(placed)
        said = schema.keys() - ANNOTATIONS - NAMING
        if said == {"$ref"}:
            return [Reference(referred(self._root, schema["$ref"], below(placed.pointer, "$ref")))]
        if said == {"allOf"} and len(schema["allOf"]) == 1:
            return self._options(placed.at("allOf", 0), depth + 1)
        if said in ({"anyOf"}, {"oneOf"}):
            return self._union(placed, next(iter(said)), depth)
        return list(self._conjoined(placed, schema, depth))

    def _conjoined(self, placed: Placed, schema: Mapping[str, Any], depth: int) -> list[PlainSchema]:
        """What the schema says itself, and all that it points to, at once."""
        parts = [placed.at("allOf", index) for index in range(len(schema.get("allOf", ())))]
        if "$ref" in schema:
            parts.insert(0, referred(self._root, schema["$ref"], below(placed.pointer, "$ref")))
        found = [plain(schema, placed.pointer)]
        for part in parts:
            found = _each_with_each(found, self.flat((part,), depth + 1), placed.pointer)
        for word in ("anyOf", "oneOf"):
            if word in schema:
                options = self._followed(self._union(placed, word, depth), depth)
                found = _each_with_each(found, options, placed.pointer)
        return found

    def _union(self, placed: Placed, word: str, depth: int) -> list[Alternative]:
        options = [
            self._options(placed.at(word, index), depth + 1) for index in range(len(placed.schema[word]))
        ]
        if word == "anyOf":
            return [alternative for option in options for alternative in option]
        flat = [self._followed(option, depth) for option in options]
        tag = _tag(placed.schema)
        if tag:
            flat = [[requiring(schema, tag) for schema in option] for option in flat]
        if sum(map(len, flat)) > LIMIT_ONE_OF_COUNT:
            raise SchemaRefusedError(
                below(placed.pointer, word),
                f"more than {LIMIT_ONE_OF_COUNT} options are not compared with each other; use `anyOf`",
            )
        for (index, one), (other_index, other) in combinations(enumerate(flat), 2):
            if not all(apart(left, right, self.flat) for left in one for right in other):
                raise SchemaRefusedError(
                    below(placed.pointer, word),
                    f"this node cannot see that options {index} and {other_index} exclude each other; give them a "
                    "required property with different constants, or use `anyOf`",
                )
        if tag:
            return [schema for option in flat for schema in option]
        return [alternative for option in options for alternative in option]


def _each_with_each(
    some: list[PlainSchema], others: Sequence[PlainSchema], pointer: str
) -> list[PlainSchema]:
    if len(some) * len(others) > LIMIT_ALTERNATIVES_COUNT:
        raise SchemaRefusedError(pointer, f"it has more than {LIMIT_ALTERNATIVES_COUNT} alternatives")
    return [both(one, other) for one in some for other in others]


def _tag(schema: dict[str, Any]) -> str:
    """The property that tells the options apart, in OpenAPI's words."""
    discriminator = schema.get("discriminator")
    name = discriminator.get("propertyName") if isinstance(discriminator, dict) else None
    return name if isinstance(name, str) else ""
