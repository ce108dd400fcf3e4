"""The words of JSON Schema (2020-12 and draft 7): enforced, without a say, or refused.

https://json-schema.org/draft/2020-12/json-schema-validation
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from edge_node.constraints.places import SchemaRefusedError, below

if TYPE_CHECKING:
    from edge_node.constraints.places import Placed

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")

NUMBERS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
TEXTS = frozenset({"minLength", "maxLength", "pattern", "format"})
ARRAYS = frozenset({"items", "prefixItems", "minItems", "maxItems"})
OBJECTS = frozenset(
    {"properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties"}
)
TYPE_BY_WORDS = ((OBJECTS, "object"), (ARRAYS, "array"), (TEXTS, "string"), (NUMBERS, "number"))
COMBINING = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
NAMING = frozenset({"$defs", "definitions"})
ANNOTATIONS = frozenset({
    "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$schema", "$id",
    "$comment", "contentMediaType", "contentEncoding", "discriminator", "propertyOrdering",
})  # fmt: skip
_HARMLESS = {"uniqueItems": False, "unevaluatedProperties": True, "unevaluatedItems": True, "nullable": False}
_COUNTS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
ENFORCED = NUMBERS | TEXTS | ARRAYS | OBJECTS | COMBINING | {"type", "enum", "const"}


def check_words(placed: Placed) -> dict[str, Any]:
    """The schema as an object whose words are all known, and of the right form.

    Raises:
        SchemaRefusedError: it is not, or a word cannot be enforced.
    """
    schema = placed.schema
    if not isinstance(schema, dict):
        raise SchemaRefusedError(placed.pointer, "a schema is an object, true or false")
    for word, value in schema.items():
        pointer = below(placed.pointer, word)
        if word in ENFORCED:
            problem = _problem(word, value)
            if problem:
                raise SchemaRefusedError(pointer, f"`{word}` is {problem}")
        elif word not in ANNOTATIONS | NAMING and not word.startswith("x-"):
            if word in _HARMLESS and value is _HARMLESS[word]:
                continue
            near = get_close_matches(word, ENFORCED, 1)
            hint = f"; did you mean `{near[0]}`?" if near else ""
            raise SchemaRefusedError(pointer, f"this node cannot enforce `{word[:100]}`{hint}")
    return schema


def _problem(word: str, value: Any) -> str:  # noqa: PLR0911 - one line for each form
    if word in _COUNTS:
        return "" if _is_count(value) else "a whole number from 0"
    if word in NUMBERS:
        return "" if isinstance(value, int | float) and not isinstance(value, bool) else "a number"
    if word in _LISTS:
        return "" if isinstance(value, list) and value else "a list with at least one schema"
    if word == "type":
        named = value if isinstance(value, list) else [value]
        return "" if named and all(name in TYPES for name in named) else f"one or more of {', '.join(TYPES)}"
    if word == "enum":
        return "" if isinstance(value, list) and value else "a list with at least one value"
    if word == "properties":
        return "" if isinstance(value, dict) else "an object of schemas"
    if word == "required":
        fine = isinstance(value, list) and all(isinstance(name, str) for name in value)
        return "" if fine else "a list of names"
    if word in {"pattern", "format"}:
        return "" if isinstance(value, str) else "a text"
    return (
        ""
        if word != "items" or not isinstance(value, list)
        else "one schema here; a list goes into `prefixItems`"
    )


def _is_count(value: Any) -> bool:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return whole and not isinstance(value, bool) and value >= 0
