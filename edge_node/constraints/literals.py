"""The values of an `enum` or `const` that the schema's other words leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge_node.constraints.places import SchemaRefusedError, below
from edge_node.constraints.plain import type_of

if TYPE_CHECKING:
    from edge_node.constraints.plain import PlainSchema


def allowed_values(schema: PlainSchema) -> list[Any]:
    """The allowed values that are of the right type, range and length.

    Raises:
        SchemaRefusedError: another word beside them is not checked on values.
    """
    for word, said in (
        ("pattern", schema.pattern),
        ("format", schema.format),
        ("multipleOf", schema.divisor),
    ):
        if said is not None:
            raise SchemaRefusedError(
                below(schema.pointer, word), "beside `enum` and `const` it is not enforced"
            )
    return [value for value in (schema.allowed or {}).values() if _fits(value, schema)]


def _fits(value: Any, schema: PlainSchema) -> bool:
    kind = type_of(value)
    types = schema.types
    if types is not None and kind not in types and not (kind == "integer" and "number" in types):
        return False
    if kind == "string":
        most = schema.most_length
        return schema.least_length <= len(value) and (most is None or len(value) <= most)
    if kind in {"integer", "number"}:
        low, high = schema.least, schema.most
        above = low is None or value > low.value or (value == low.value and not low.open)
        return above and (high is None or value < high.value or (value == high.value and not high.open))
    if kind == "array" and (
        schema.items or schema.prefix or schema.least_items or schema.most_items is not None
    ):
        raise SchemaRefusedError(
            schema.pointer, "arrays among constants are not checked against the other words"
        )
    if kind == "object" and (
        schema.properties is not None or schema.required or schema.others or schema.names
        or schema.least_properties or schema.most_properties is not None
    ):  # fmt: skip
        raise SchemaRefusedError(
            schema.pointer, "objects among constants are not checked against the other words"
        )
    return True
