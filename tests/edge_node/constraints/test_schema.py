"""Schemas as grammars: what they let through satisfies the schema, and what it should let through it does."""

import itertools
import json
import random
import re

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_node.constraints.schema import grammar_of_json_object, grammar_of_schema
from edge_node.errors import RequestInvalidError

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 130},
        "weight": {"type": "number", "exclusiveMinimum": 0, "maximum": 635.5},
        "tags": {"type": "array", "items": {"enum": ["a", "b", 3, None]}, "minItems": 1, "maxItems": 3},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
TREE = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2},
            },
            "required": ["value", "children"],
        }
    },
    "$ref": "#/$defs/node",
}
SHAPES = {
    "oneOf": [
        {"properties": {"kind": {"const": "circle"}, "r": {"type": "number", "minimum": 0}}, "required": ["kind", "r"]},
        {"properties": {"kind": {"const": "box"}, "w": {"type": "integer", "minimum": 1}}, "required": ["kind", "w"]},
    ]
}  # fmt: skip
SCHEMAS = [
    PERSON,
    TREE,
    SHAPES,
    True,
    {"type": "object"},
    {"type": ["string", "null"], "maxLength": 3},
    {"type": "string", "pattern": "^[A-Z]{2}-\\d{3}$"},
    {"type": "string", "pattern": "ab+c"},
    {"type": "string", "minLength": 150, "maxLength": 320},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 1},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
    {"prefixItems": [{"type": "null"}], "items": {"type": "integer", "maximum": 9}, "minItems": 3, "maxItems": 5},
    {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 1, "maxProperties": 3},
    {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": {"type": "string"}},
    {"type": "object", "additionalProperties": {"type": "integer"}, "propertyNames": {"pattern": "^[a-c]+$"}},
    {"type": "object", "required": ["x"]},
    {"allOf": [{"type": "number", "minimum": 3}, {"maximum": 4.5}]},
    {
        "allOf": [
            {"properties": {"a": {"type": "integer", "minimum": 1}}},
            {"properties": {"a": {"maximum": 9}, "b": {"type": "null"}}, "required": ["a"]},
        ]
    },
    {"properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"enum": [1, "two", [3, {"four": None}], {"a b": 'é"\n'}, 1.5]},
    {"type": "integer", "multipleOf": 7},
    {"type": "integer", "multipleOf": 5, "minimum": 12, "maximum": 41},
    {"type": "number", "exclusiveMinimum": -1.5, "exclusiveMaximum": -0.25},
    {"$ref": "#/definitions/a", "maxLength": 2, "definitions": {"a": {"type": "string"}}},
    {"type": "object", "x-note": 1, "title": "T"},
    {"properties": {"p": {"properties": {"q": {"type": "boolean"}}, "required": ["q"]}}, "required": ["p"]},
]  # fmt: skip


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:50])
def test_what_a_grammar_lets_through_satisfies_its_schema(schema, reader_of):
    reader = reader_of(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for seed in range(60):
        text = reader.random_text(random.Random(seed))
        value = json.loads(text)
        validator.validate(value)
        assert reader.matches(text)


DURATION = re.compile(r"P(?!$)(\d+W|(\d+Y)?(\d+M)?(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+S)?)?)")


@pytest.mark.parametrize(
    "name", ["date", "time", "date-time", "duration", "uuid", "email", "hostname", "ipv4", "ipv6", "uri"]
)
def test_formats_are_what_their_checkers_take(name, reader_of):
    import datetime as dt
    import ipaddress
    import uuid
    from urllib.parse import urlsplit

    checks = {
        "date": dt.date.fromisoformat,
        "time": dt.time.fromisoformat,
        "date-time": dt.datetime.fromisoformat,
        "duration": lambda text: DURATION.fullmatch(text)[0],
        "uuid": uuid.UUID,
        "email": lambda text: re.fullmatch(r"[^@\s]{1,64}@[^@\s]{1,255}", text)[0],
        "hostname": lambda text: text.encode("idna"),
        "ipv4": ipaddress.IPv4Address,
        "ipv6": ipaddress.IPv6Address,
        "uri": lambda text: urlsplit(text).hostname + "",
    }  # fmt: skip
    reader = reader_of({"type": "string", "format": name})
    for seed in range(200):
        checks[name](json.loads(reader.random_text(random.Random(seed))))


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date", ["2024-02-29", "2000-02-29", "1999-12-31"], ["2023-02-29", "1900-02-29", "2024-04-31", "0000-01-01"]),
        ("time", ["23:59:59Z", "00:00:00.5+01:30"], ["24:00:00Z", "12:00:00"]),
        ("ipv6", ["::", "::1", "1::", "1:2:3:4:5:6:7:8", "fe80::1:2"], ["1:2:3:4:5:6:7:8:9", "1::2::3", ":::"]),
        ("ipv4", ["255.255.0.9"], ["256.1.1.1", "01.1.1.1", "1.1.1"]),
        ("uuid", ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567e89b12d3a456426614174000"]),
    ],
)  # fmt: skip
def test_formats_by_example(name, good, bad, accepts):
    schema = {"type": "string", "format": name}
    assert all(accepts(schema, f'"{text}"') for text in good)
    assert not any(accepts(schema, f'"{text}"') for text in bad)


def test_properties_keep_their_order_and_may_be_left_out(accepts):
    schema = {"properties": {"a": {"const": 1}, "b": {"const": 2}, "c": {"const": 3}}, "required": ["b"]}
    for document in ({"b": 2}, {"a": 1, "b": 2}, {"b": 2, "c": 3}, {"a": 1, "b": 2, "c": 3}):
        assert accepts(schema, document)
    for document in ({}, {"a": 1}, {"b": 2, "a": 1}, {"b": 2, "d": 4}, {"a": 1, "c": 3}):
        assert not accepts(schema, document)
    assert accepts(schema, '{\n  "a": 1,\n  "b": 2\n}')
    assert not accepts(schema, '{"b": 2,}')


def test_other_properties_have_none_of_the_names_given(accepts):
    schema = {
        "properties": {"ab": {"type": "null"}, "a": {"type": "null"}},
        "additionalProperties": {"type": "integer"},
    }
    assert accepts(schema, {"ab": None, "a": None, "abc": 1, "b": 2, "": 3})
    assert not accepts(schema, {"ab": 1})
    assert not accepts(schema, {"a": 1})


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(-(10**6), 10**6), st.integers(0, 3000), st.data())
def test_whole_numbers_keep_to_their_range(gbnf, low, width, data):
    reader = gbnf(grammar_of_schema({"type": "integer", "minimum": low, "maximum": low + width}, param=""))
    near = data.draw(st.lists(st.integers(low - 50, low + width + 50), max_size=8))
    for value in (*near, low - 1, low, low + width, low + width + 1):
        assert reader.matches(str(value)) == (low <= value <= low + width)
    assert not reader.matches("-0")
    assert not reader.matches("00")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.decimals(-2000, 2000, places=3), st.decimals(0, 50, places=4), st.booleans(), st.booleans(), st.data()
)
def test_numbers_keep_to_their_range(gbnf, low, width, low_open, high_open, data):
    high = float(low + width)
    low = float(low)
    if low == high:
        return
    words = {
        "exclusiveMinimum" if low_open else "minimum": low,
        "exclusiveMaximum" if high_open else "maximum": high,
    }
    reader = gbnf(grammar_of_schema({"type": "number", **words}, param=""))
    near = st.decimals(round(low) - 1, round(high) + 1, places=4)
    for value in [*data.draw(st.lists(near, max_size=8)), low, high]:
        text = format(float(value), ".6f").rstrip("0").rstrip(".")
        read = float(text)
        inside = (low < read if low_open else low <= read) and (read < high if high_open else read <= high)
        assert reader.matches(text.replace("-0", "0") if read == 0 else text) == inside


@pytest.mark.parametrize(
    ("schema", "pointer"),
    [
        ({"type": "array", "uniqueItems": True}, "/uniqueItems"),
        ({"properties": {"a": {"not": {}}}}, "/properties/a/not"),
        ({"properties": {"a/b~": {"if": {}}}}, "/properties/a~1b~0/if"),
        ({"patternProperties": {}}, "/patternProperties"),
        ({"type": "string", "format": "iri"}, "/format"),
        ({"type": "string", "pattern": "(?=a)b"}, "/pattern"),
        ({"type": "string", "pattern": "^(a|b)c$", "maxLength": 1}, "/pattern"),
        ({"type": "string", "minLenght": 2}, "/minLenght"),
        ({"type": "text"}, "/type"),
        ({"enum": []}, "/enum"),
        ({"$ref": "#/nowhere"}, "/$ref"),
        ({"$ref": "https://example.com/x"}, "/$ref"),
        ({"$ref": "#"}, ""),
        ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, ""),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "/oneOf"),
        ({"type": "integer", "multipleOf": 1000, "minimum": 3}, ""),
        ({"type": "number", "multipleOf": 0.3}, "/multipleOf"),
        ({"type": "object", "minProperties": 2}, "/minProperties"),
        ({"type": "string", "minLength": -1}, "/minLength"),
        ({"minimum": True}, "/minimum"),
        ({"items": [{}]}, "/items"),
        (False, ""),
        ({"type": "integer", "minimum": 3, "maximum": 2}, ""),
        (7, ""),
    ],
)  # fmt: skip
def test_what_cannot_be_enforced_is_refused_with_a_pointer(schema, pointer):
    with pytest.raises(RequestInvalidError) as caught:
        grammar_of_schema(schema, param="s")
    assert caught.value.param == f"s#{pointer}"


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"type": "string", "maxLength": 10**9},
        {"enum": ["x" * 50_000]},
        {"anyOf": [{"const": "x" * 300_000}]},
    ],
)
def test_grammars_without_end_or_measure_are_refused(schema):
    with pytest.raises(RequestInvalidError) as caught:
        grammar_of_schema(schema, param="s")
    assert caught.value.param == "s"


def test_nesting_without_measure_is_refused():
    schema = {}
    for _ in range(200):
        schema = {"items": schema}
    with pytest.raises(RequestInvalidError, match="nested"):
        grammar_of_schema(schema, param="s")


def test_a_schema_that_doubles_at_every_level_is_taken_apart_in_no_time(accepts):
    names = [f"d{number}" for number in range(18)]
    definitions = {
        name: {"allOf": [{"$ref": f"#/$defs/{following}"}] * 2, "properties": {"a": {"minimum": 3}}}
        for name, following in itertools.pairwise(names)
    }
    definitions[names[-1]] = {"properties": {"a": {"type": "integer", "maximum": 5}}, "required": ["a"]}
    schema = {"$defs": definitions, "allOf": [{"$ref": "#/$defs/d0"}] * 2}
    assert accepts(schema, {"a": 4})
    assert not accepts(schema, {"a": 2})
    assert not accepts(schema, {"a": 6})


def test_long_strings_are_told_in_blocks(accepts):
    schema = {"type": "string", "minLength": 990, "maxLength": 2345}
    for count, fits in ((989, False), (990, True), (1000, True), (2299, True), (2345, True), (2346, False)):
        assert accepts(schema, '"' + "x" * count + '"') == fits


def test_any_json_object(gbnf):
    reader = gbnf(grammar_of_json_object(param=""))
    assert reader.matches(
        '{"a": [1, -2.5e3, {"b": null}], "c\\u00e9": "\\"\\\\ \\n"}'.replace("c\\u00e9", "cé")
    )
    for text in ("[]", '{"a": 01}', "{'a': 1}", '{"a": "\\ud800"}', '{"a": "\n"}', '{"a": 1e999}', "{} "):
        assert not reader.matches(text), text


def test_pydantic_style_unions_with_a_tag_that_has_a_default(accepts):
    schema = {
        "$defs": {
            "Cat": {"type": "object", "properties": {"kind": {"const": "cat", "default": "cat"}}},
            "Dog": {"type": "object", "properties": {"kind": {"const": "dog", "default": "dog"}}},
        },
        "discriminator": {"propertyName": "kind", "mapping": {"cat": "#/$defs/Cat"}},
        "oneOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}],
    }
    assert accepts(schema, {"kind": "dog"})
    assert not accepts(schema, {})
