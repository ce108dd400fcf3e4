"""A JSON schema as a grammar: every answer that the grammar lets through is valid JSON and satisfies the schema.

The answers are a part of what the schema allows: properties come in the schema's order, an object that names its
properties has no others unless `additionalProperties` says so, numbers have at most 15 digits, strings that must match
a pattern are written without needless escapes. Nothing that the schema demands is left out: what cannot be enforced is
refused.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import Any

from edge_node.constraints.arrays import array
from edge_node.constraints.decimals import Bound, number_between
from edge_node.constraints.expressions import Expression, Rule, Text, choice, repeat, sequence
from edge_node.constraints.flatten import LIMIT_DEPTH, Flattener, Reference
from edge_node.constraints.formats import FORMATS
from edge_node.constraints.gbnf import GrammarTooLargeError, Rules
from edge_node.constraints.integers import integer_between, multiple_of
from edge_node.constraints.keywords import TYPES
from edge_node.constraints.layout import SPACE
from edge_node.constraints.literals import allowed_values
from edge_node.constraints.objects import Property, entries
from edge_node.constraints.patterns import PatternUnsupportedError, Piece, texts_of
from edge_node.constraints.places import Placed, SchemaRefusedError, below
from edge_node.constraints.plain import Conjunction, PlainSchema, property_of
from edge_node.constraints.texts import CHARACTER, QUOTE, keys_but, literal
from edge_node.errors import RequestInvalidError

LIMIT_SCHEMA_CHARACTERS = 200_000


def grammar_of_schema(schema: Any, *, param: str) -> str:
    """The grammar of a schema's answers, whose root is `root`.

    `param` is where the request has the schema; a JSON pointer into it is added in errors.

    Raises:
        RequestInvalidError: it is no schema, or cannot be enforced.
    """
    try:
        text = json.dumps(schema, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise RequestInvalidError(f"the schema is not JSON: {error}", param=param) from error
    if len(text) > LIMIT_SCHEMA_CHARACTERS:
        raise RequestInvalidError(
            f"the schema has {len(text)} characters, over the limit of {LIMIT_SCHEMA_CHARACTERS}", param=param
        )
    return _printed(text, param)


def grammar_of_json_object(*, param: str) -> str:
    """The grammar of any JSON object."""
    return grammar_of_schema({"type": "object"}, param=param)


@lru_cache(maxsize=64)
def _printed(schema_text: str, param: str) -> str:
    rules = Rules()
    try:
        root = rules.reserve("root")
        rules.define(root, value_of_schema(json.loads(schema_text), rules))
        unending = rules.unending()
    except SchemaRefusedError as error:
        raise RequestInvalidError(str(error), param=f"{param}#{error.pointer}") from error
    except GrammarTooLargeError as error:
        raise RequestInvalidError(f"the schema is too large to enforce: {error}", param=param) from error
    except RecursionError as error:
        raise RequestInvalidError("the schema is nested too deeply", param=param) from error
    if root.name in unending:
        raise RequestInvalidError("the schema demands itself within itself: no answer ever ends", param=param)
    return rules.printed()


def value_of_schema(schema: Any, rules: Rules) -> Expression:
    """What a value of this schema looks like; helper rules go into `rules`.

    Raises:
        SchemaRefusedError: it cannot be enforced.
        GrammarTooLargeError: it has too many parts.
    """
    found = _Writer(schema, rules).value((Placed(schema, ""),))
    if found is None:
        raise SchemaRefusedError("", "no value satisfies the schema")
    return found


class _Writer:
    """Writes the rules of one schema."""

    def __init__(self, root: Any, rules: Rules) -> None:
        self._rules = rules
        self._flattener = Flattener(root)
        self._rule_by_pointer: dict[str, Rule] = {}
        self._impossible: set[str] = set()
        self._open: tuple[str, ...] = ()  # references followed to here without writing a character
        self._depth = 0

    def value(self, conjunction: Conjunction) -> Expression | None:
        """A value; None where there is none."""
        options: list[Expression] = []
        for alternative in self._flattener.alternatives(conjunction):
            if isinstance(alternative, Reference):
                found = self._referred(alternative.target)
                options += [] if found is None else [found]
            else:
                options.extend(self._plain(alternative))
        return choice(options)

    def _inner(self, conjunction: Conjunction) -> Expression | None:
        """A value within another one."""
        if self._depth >= LIMIT_DEPTH:
            raise SchemaRefusedError(conjunction[0].pointer, f"it is nested more than {LIMIT_DEPTH} deep")
        before, self._open = self._open, ()
        self._depth += 1
        found = self.value(conjunction) if conjunction else self._anything()
        self._depth -= 1
        self._open = before
        if found is None or isinstance(found, Rule | Text):
            return found
        return self._rules.named("part", found)

    def _referred(self, target: Placed) -> Expression | None:
        if target.pointer in self._open:
            raise SchemaRefusedError(target.pointer, "it refers to itself and says nothing else")
        if target.pointer in self._impossible:
            return None
        known = self._rule_by_pointer.get(target.pointer)
        if known is not None:
            return known
        rule = self._rule_by_pointer[target.pointer] = self._rules.reserve("ref")
        before, self._open = self._open, (*self._open, target.pointer)
        found = self.value((target,))
        self._open = before
        if found is None:
            self._impossible.add(target.pointer)
            return None
        return self._rules.define(rule, found)

    def _plain(self, schema: PlainSchema) -> list[Expression]:
        if schema.allowed is not None:
            return [literal(value) for value in allowed_values(schema)]
        if schema.types is None and schema.properties is None:
            return [self._anything()]
        found = [self._of_type(name, schema) for name in TYPES if name in (schema.types or TYPES)]
        return [term for term in found if term is not None]

    def _of_type(self, name: str, schema: PlainSchema) -> Expression | None:  # noqa: PLR0911 - one for each
        if name == "null":
            return Text("null")
        if name == "boolean":
            return choice((Text("true"), Text("false")))
        if name == "string":
            return self._string(schema)
        if name == "array":
            return self._array(schema)
        if name == "object":
            return self._object(schema)
        if name == "integer" and "number" in (schema.types or ()):
            return None  # among the numbers
        return self._number(schema, whole=name == "integer")

    def _number(self, schema: PlainSchema, *, whole: bool) -> Expression | None:
        divisor, digits_count = schema.divisor, None
        if divisor is not None:
            if divisor <= 0:
                raise SchemaRefusedError(below(schema.pointer, "multipleOf"), "a divisor is over 0")
            digits_count = _decimal_places(divisor)
            if digits_count is None and not float(divisor).is_integer():
                raise SchemaRefusedError(
                    below(schema.pointer, "multipleOf"),
                    "only multiples of whole numbers and of 0.1, 0.01, … can be enforced",
                )
            whole = whole or digits_count is None or digits_count == 0
        try:
            if not whole:
                return number_between(schema.least, schema.most, fraction_digits_count=digits_count)
            least = None if schema.least is None else _whole(schema.least, up=True)
            most = None if schema.most is None else _whole(schema.most, up=False)
            if divisor is None or (digits_count or 0) > 0:
                return integer_between(least, most)
            return multiple_of(int(divisor), least, most, self._rules)
        except (ValueError, OverflowError) as error:
            raise SchemaRefusedError(schema.pointer, f"the range cannot be enforced: {error}") from error

    def _string(self, schema: PlainSchema) -> Expression | None:
        least, most = schema.least_length, schema.most_length
        if most is not None and most < least:
            return None
        inner: Expression | None = None
        for word, piece in self._pieces(schema):
            if inner is not None:
                raise SchemaRefusedError(
                    below(schema.pointer, word), "`pattern` and `format` cannot go together"
                )
            inner = piece.between(least, most)
            if inner is None:
                raise SchemaRefusedError(
                    below(schema.pointer, word),
                    f"a `{word}` and a length cannot be enforced together; say the length in the pattern",
                )
        if inner is None:
            inner = repeat(self._rules.named("character", CHARACTER), least, most)
        return sequence(QUOTE, inner, QUOTE)

    def _pieces(self, schema: PlainSchema) -> list[tuple[str, Piece]]:
        found = []
        if schema.pattern is not None:
            try:
                found.append(("pattern", texts_of(schema.pattern)))
            except PatternUnsupportedError as error:
                raise SchemaRefusedError(
                    below(schema.pointer, "pattern"), f"the pattern cannot be enforced: {error}"
                ) from error
        if schema.format is not None:
            if schema.format not in FORMATS:
                raise SchemaRefusedError(
                    below(schema.pointer, "format"), f"the formats that are enforced are {', '.join(FORMATS)}"
                )
            found.append(("format", texts_of(FORMATS[schema.format])))
        return found

    def _array(self, schema: PlainSchema) -> Expression | None:
        most = schema.most_items
        places = len(schema.prefix) if most is None else min(most, len(schema.prefix))
        return array(
            [self._inner(schema.prefix[at]) for at in range(places)],
            None if most == 0 else self._inner(schema.items),
            least=schema.least_items,
            most=most,
            space=self._space(),
        )

    def _object(self, schema: PlainSchema) -> Expression | None:
        found: list[Property] = []
        names = dict.fromkeys((*(schema.properties or ()), *schema.required))
        for name in names:
            required = name in schema.required
            inner = self._inner(property_of(schema, name))
            if inner is not None:
                entry = sequence(literal(name), Text(": "), inner)
                found.append(Property(entry=self._rules.named("entry", entry), required=required))
            elif required:
                return None
        is_open = bool(schema.others) if names else True
        if names and schema.names:
            raise SchemaRefusedError(
                below(schema.pointer, "propertyNames"),
                "it can be enforced only without `properties` and `required`",
            )
        other = self._other(schema, tuple(names)) if is_open else None
        return self._counted(schema, found, other)

    def _other(self, schema: PlainSchema, names: tuple[str, ...]) -> Expression | None:
        inner = self._inner(schema.others)
        if inner is None or schema.most_properties == 0:
            return None
        key: Expression | None = keys_but(names)
        if schema.names:
            key = self._names(schema.names)
        return None if key is None else self._rules.named("other", sequence(key, Text(": "), inner))

    def _names(self, names: Conjunction) -> Expression | None:
        options: list[Expression] = []
        for schema in self._flattener.flat(names):
            if schema.allowed is not None:
                options.extend(literal(value) for value in allowed_values(schema) if isinstance(value, str))
            elif schema.types is None or "string" in schema.types:
                found = self._string(schema)
                options += [] if found is None else [found]
        return choice(options)

    def _counted(
        self, schema: PlainSchema, found: list[Property], other: Expression | None
    ) -> Expression | None:
        least, most = schema.least_properties, schema.most_properties
        required_count = sum(each.required for each in found)
        if most is not None and most < max(least, required_count):
            return None
        if most is not None and len(found) > most:
            raise SchemaRefusedError(
                below(schema.pointer, "maxProperties"), "it is less than the number of the named properties"
            )
        # Two entries may have the same key, which counts once: more than one cannot be promised of others.
        if least > max(1, required_count):
            raise SchemaRefusedError(
                below(schema.pointer, "minProperties"),
                "it is enforced up to 1, or up to the number of the required ones",
            )
        if least and not found and other is None:
            return None
        return entries(
            found,
            other,
            least_others=least if not found else 0,
            most_others=None if most is None else most - len(found),
            may_be_empty=least == 0,
            rules=self._rules,
            space=self._space(),
        )

    def _anything(self) -> Rule:
        known = self._rule_by_pointer.get("any")
        if known is not None:
            return known
        rule = self._rule_by_pointer["any"] = self._rules.reserve("value")
        free = PlainSchema(pointer="", types=frozenset(TYPES))
        options = [self._of_type(name, free) for name in TYPES]
        found = choice(option for option in options if option is not None)
        assert found is not None, "there are values of each type"
        return self._rules.define(rule, found)

    def _space(self) -> Rule:
        return self._rules.named("space", SPACE)


def _decimal_places(divisor: float) -> int | None:
    """How many digits after the point the multiples of 1, 0.1, 0.01, … have; None for other divisors."""
    for count in range(16):
        if float(divisor) == float(f"1e-{count}"):
            return count
    return None


def _whole(bound: Bound, *, up: bool) -> int:
    """The first whole number inside a bound."""
    value = bound.value
    if not math.isfinite(value) or abs(value) > 10**40:
        raise ValueError("a bound has more than 40 digits")
    floor = math.floor(value)
    if floor == value:
        return floor + (1 if up else -1) * bound.open
    return floor + 1 if up else floor
