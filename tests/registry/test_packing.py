import random
from contextlib import suppress

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from registry.digest import digest_of
from registry.errors import ChunkMismatchError, UnpackLimitError
from registry.packing import PACK_LIMIT_BYTES, Codec, PackBuilder, decode_chunk, encode_chunk


@given(st.binary(min_size=1, max_size=5000))
def test_round_trip(raw):
    assert decode_chunk(encode_chunk(raw), digest_of(raw), len(raw)) == raw


def test_noise_is_kept_raw_and_repetition_is_not():
    noise = random.Random(1).randbytes(10_000)
    assert encode_chunk(noise) == bytes([Codec.RAW]) + noise
    assert encode_chunk(bytes(10_000))[0] == Codec.ZSTD


def test_less_than_3_percent_is_not_worth_it():
    raw = random.Random(1).randbytes(98_000) + bytes(2_000)
    assert encode_chunk(raw)[0] == Codec.RAW


@pytest.mark.parametrize("declared", [9_999, 10_001, 1])
def test_no_more_is_unpacked_than_was_declared(declared):
    raw = bytes(10_000)
    with pytest.raises(UnpackLimitError, match="10000"):
        decode_chunk(encode_chunk(raw), digest_of(raw), declared)


def test_a_bomb_is_refused_by_its_header():
    bomb = bytes([Codec.ZSTD]) + zstandard.compress(bytes(50_000_000))
    with pytest.raises(UnpackLimitError):
        decode_chunk(bomb, digest_of(b""), 1000)


def test_a_frame_without_a_length_is_refused():
    packed = zstandard.ZstdCompressor(write_content_size=False).compress(b"x" * 1000)
    with pytest.raises(UnpackLimitError, match="unknown"):
        decode_chunk(bytes([Codec.ZSTD]) + packed, digest_of(b"x" * 1000), 1000)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda stored: b"",
        lambda stored: stored[:-1],
        lambda stored: stored + b"x",
        lambda stored: b"\x63" + stored[1:],
        lambda stored: stored[:1] + b"not zstd at all",
    ],
)
def test_damage_is_refused(spoil):
    raw = b"edgeward " * 2000
    with pytest.raises(ChunkMismatchError):
        decode_chunk(spoil(encode_chunk(raw)), digest_of(raw), len(raw))


@given(st.integers(0), st.integers(1, 255))
def test_any_flipped_byte_is_refused(place, flip):
    raw = b"edgeward " * 200
    stored = bytearray(encode_chunk(raw))
    stored[place % len(stored)] ^= flip
    with suppress(ChunkMismatchError, UnpackLimitError):
        assert decode_chunk(bytes(stored), digest_of(raw), len(raw)) == raw  # a bit that zstd ignores


def test_a_pack_is_its_chunks_one_after_another():
    pack = PackBuilder()
    assert [pack.add(b"abc"), pack.add(b"de")] == [0, 3]
    assert pack.build() == (digest_of(b"abcde"), b"abcde")


def test_a_pack_is_bounded_and_takes_any_first_chunk():
    pack = PackBuilder()
    large = bytes(PACK_LIMIT_BYTES)
    assert pack.fits(large + b"x")
    pack.add(large)
    assert not pack.fits(b"x")
