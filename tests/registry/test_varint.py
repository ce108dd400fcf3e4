import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import ChunkMismatchError
from registry.varint import VarintReader, pack_varints, unzigzag, zigzag


@given(st.lists(st.integers(0, (1 << 63) - 1)))
def test_round_trip(values):
    reader = VarintReader(memoryview(pack_varints(values)), "it")
    assert [reader.varint() for _ in values] == values
    reader.finish()


@given(st.integers(-(1 << 62), 1 << 62))
def test_signed_numbers_round_trip(value):
    assert zigzag(value) >= 0
    assert unzigzag(zigzag(value)) == value


def test_small_numbers_are_small():
    assert pack_varints(map(zigzag, (0, -1, 1, 63, -64))) == bytes([0, 1, 2, 126, 127])


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9])
def test_a_number_without_an_end_is_refused(data):
    with pytest.raises(ChunkMismatchError, match="damaged"):
        VarintReader(memoryview(data), "it").varint()


def test_too_much_and_too_little_are_refused():
    reader = VarintReader(memoryview(b"abc"), "it")
    with pytest.raises(ChunkMismatchError, match="4 bytes"):
        reader.take(4)
    assert bytes(reader.take(2)) == b"ab"
    with pytest.raises(ChunkMismatchError, match="1 bytes are left over"):
        reader.finish()
