"""Values are counted as they are made: exactly, in both forms, whatever texts hold."""

import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InputInvalidError
from registry.value_count import VALUES_LIMIT_COUNT, check_json, check_msgpack

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet='ab,:[]{}"\\🙂\n', max_size=40),
    lambda inner: st.lists(inner, max_size=40) | st.dictionaries(st.text(alphabet='k,"\\{', max_size=5), inner),
    max_leaves=60,
)  # fmt: skip


def count(plain):
    if isinstance(plain, dict):
        return 1 + sum(1 + count(value) for value in plain.values())
    return 1 + sum(map(count, plain)) if isinstance(plain, list) else 1


def keys(plain):
    if isinstance(plain, dict):
        return sum(1 + keys(value) for value in plain.values())
    return sum(map(keys, plain)) if isinstance(plain, list) else 0


def refused(check, *arguments, **limits):
    try:
        check(*arguments, **limits)
    except InputInvalidError as error:
        return "which is the limit" in error.message
    return False


@given(PLAIN)
def test_one_below_is_refused_and_as_many_are_not(plain):
    values_count = count(plain)
    empty_count = json.dumps(plain).count("[]") + json.dumps(plain).count("{}")  # counted as if they held one
    packed, written = msgpack.packb(plain), json.dumps(plain).encode()
    assert not refused(check_msgpack, packed, values_count)
    assert refused(check_msgpack, packed, values_count - 1) or len(packed) < values_count
    assert not refused(check_json, written, values_count + empty_count)
    assert refused(check_json, written, values_count - 1)
    assert not refused(check_json, written, 10**6, keys_limit_count=keys(plain))
    if keys(plain):
        assert refused(check_json, written, 10**6, keys_limit_count=keys(plain) - 1)


@pytest.mark.parametrize(
    "kind", [msgpack.ExtType(5, bytes(300)), bytes(70_000), "x" * 40, msgpack.Timestamp(2**34)]
)
def test_what_has_a_length_is_one_value(kind):
    packed = msgpack.packb([kind, [kind, 0.5], "é" * 300])
    assert not refused(check_msgpack, packed, 6)
    assert refused(check_msgpack, packed, 5)


def test_prose_with_more_commas_than_the_limit_is_one_text():
    body = json.dumps({"text": '",:[{' * VALUES_LIMIT_COUNT}).encode()
    check_json(body, 3)


@given(st.binary(max_size=300))
def test_what_is_neither_is_left_to_its_reader(data):
    for check in (check_json, check_msgpack):
        refused(check, data, 5)


def test_quotes_that_never_end_are_looked_at_once():
    """Looked for again behind each quote, these would take hours."""
    assert not refused(check_json, b"[" * 5 + b'"' + b'\\"' * 4_000_000, 4_000_000)
    assert not refused(check_json, b'[,"' + b'\\"[' * 2_000_000, 4)
    assert refused(check_json, b'""' * 4_000_000 + b"," * 9, 8)
