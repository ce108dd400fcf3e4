"""The wire: what goes out comes back, and what does not fit is refused with the path of the field."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from registry.errors import InputInvalidError
from registry.wire import convert, from_json, from_msgpack, to_json, to_msgpack


class Turn(Struct, frozen=True):
    role: str
    count: int = 0


class Strict(Struct, frozen=True, forbid_unknown_fields=True):
    turns: tuple[Turn, ...] = ()
    temperature: float = 1.0
    inner: Strict | None = None
    data: bytes = b""


@given(st.lists(st.builds(Turn, role=st.text(), count=st.integers(-(2**63), 2**63 - 1))), st.binary())
def test_msgpack_round_trip(turns, data):
    message = Strict(turns=tuple(turns), data=data)
    assert from_msgpack(to_msgpack(message), Strict) == message


@given(st.lists(st.builds(Turn, role=st.text(), count=st.integers(-(2**53), 2**53))), st.binary())
def test_json_round_trip(turns, data):
    message = Strict(turns=tuple(turns), data=data)
    assert from_json(to_json(message), Strict) == message


def test_the_path_of_a_bad_field_is_told():
    for read, plain in ((from_json, b'{"turns": [{"role": "a"}, {"role": 3}]}'),
                        (from_msgpack, msgpack.packb({"turns": [{"role": "a"}, {"role": 3}]}))):  # fmt: skip
        with pytest.raises(InputInvalidError) as refusal:
            read(plain, Strict)
        assert refusal.value.param == "turns[1].role"
        assert "str" in refusal.value.message


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(InputInvalidError, match="did you mean `temperature`") as refusal:
        from_json(b'{"temprature": 1}', Strict)
    assert refusal.value.param == "temprature"
    with pytest.raises(InputInvalidError) as refusal:
        from_json(b'{"inner": {"x": 1}}', Strict)
    assert refusal.value.param == "inner.x"


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"a":}', b"[" * 100_000, b'"\xc3"'])
def test_what_is_not_json_is_refused(data):
    with pytest.raises(InputInvalidError):
        from_json(data, Strict)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(data):
    try:
        message = from_msgpack(data, Strict)
    except InputInvalidError:
        return
    assert isinstance(message, Strict)


@pytest.mark.parametrize(
    "data",
    [b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\x81\x01\x02", b"\x91" * 5000, b"\xc1", b"\x80\x80"],
    ids=["huge array", "huge bytes", "number as key", "deep", "never used", "two messages"],
)
def test_hostile_msgpack_is_refused(data):
    with pytest.raises(InputInvalidError):
        from_msgpack(data, Strict)


def test_plain_values_are_converted():
    assert convert({"turns": [{"role": "a"}]}, Strict) == Strict(turns=(Turn("a"),))


@pytest.mark.parametrize("write", [to_json, to_msgpack])
def test_a_text_that_is_not_unicode_is_refused(write):
    with pytest.raises(InputInvalidError, match="not valid Unicode at character 2"):
        write(Turn(role="ab\udcff"))
