import random

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from registry.chunking import Segment
from registry.digest import digest_of
from registry.element_forms import BLOCK_BYTES, Form
from registry.errors import ChunkMismatchError, UnpackLimitError
from registry.packing import Codec, decode_chunk, encode_chunk
from registry.plane_coding import decode_planes, encode_planes

FORMS = st.sampled_from(list(Form))


def _skewed(length, seed=1):
    """Bytes that an entropy coder gains on."""
    return np.random.default_rng(seed).binomial(24, 0.4, length).astype(np.uint8).tobytes()


def _there_and_back(raw, segments):
    packed = encode_planes(raw, segments)
    assert decode_planes(memoryview(packed), len(raw), "it") == raw
    return packed


@given(FORMS, st.integers(0, 40), st.integers(0, 300), st.integers(0, 5), st.integers(0, 9), st.booleans())
def test_round_trip_of_every_form_with_odd_tails(form, rows, tail, row_blocks, seed, skewed):
    length = rows * max(1, row_blocks) * BLOCK_BYTES[form] + tail + 1
    raw = _skewed(length, seed) if skewed else random.Random(seed).randbytes(length)
    _there_and_back(raw, [Segment(form, length, row_blocks)])


@given(st.lists(st.tuples(FORMS, st.integers(1, 700)), min_size=2, max_size=9), st.integers(0, 9))
def test_round_trip_of_bundles(parts, seed):
    raw = _skewed(sum(length for _, length in parts), seed)
    _there_and_back(raw, [Segment(form, length) for form, length in parts])


@pytest.mark.parametrize("form", list(Form))
def test_round_trip_of_large_planes(form):
    blocks = 1_500_000 // BLOCK_BYTES[form]
    raw = _skewed(blocks * BLOCK_BYTES[form] + 7)
    assert len(_there_and_back(raw, [Segment(form, len(raw), 10)])) < 0.7 * len(raw)


def _gaussian_blocks(form, scale_bytes):
    """Blocks as quantizers make them: Q4_1 with its minimum, Q5_0 with its fifth bits apart."""
    chance = np.random.default_rng(3)
    values = chance.normal(0, 1, (40_000, 32)).astype(np.float32)
    low, high = values.min(1, keepdims=True), values.max(1, keepdims=True)
    if form is Form.Q4_1:
        quants = np.rint((values - low) / (high - low) * 15).astype(np.uint8)
        heads = np.concatenate([((high - low) / 15).astype("<f2"), low.astype("<f2")], axis=1)
        return np.concatenate([heads.view(np.uint8), quants[:, :16] | quants[:, 16:] << 4], axis=1).tobytes()
    scale = np.abs(values).max(1, keepdims=True) / 16
    quants = np.clip(np.rint(values / scale) + 16, 0, 31).astype(np.uint8)
    fifth = np.packbits(quants >> 4, axis=1, bitorder="little")
    nibbles = (quants[:, :16] & 15) | (quants[:, 16:] & 15) << 4
    return np.concatenate([scale.astype("<f2").view(np.uint8), fifth, nibbles], axis=1).tobytes()


@pytest.mark.parametrize(("form", "limit"), [(Form.Q4_1, 0.905), (Form.Q5_0, 0.935)])
def test_quants_take_less_than_their_fields_one_by_one(form, limit):
    raw = _gaussian_blocks(form, 2)
    fields = np.frombuffer(raw, np.uint8).reshape(-1, BLOCK_BYTES[form])
    plain = sum(len(zstandard.compress(fields[:, place].tobytes())) for place in range(fields.shape[1]))
    packed = len(_there_and_back(raw, [Segment(form, len(raw), 20)]))
    assert packed < 0.995 * min(plain, len(raw))
    assert packed < limit * len(raw)


def test_noise_costs_next_to_nothing():
    raw = random.Random(1).randbytes(34_000)
    assert len(_there_and_back(raw, [Segment(Form.Q8_0, len(raw), 10)])) < len(raw) + 20


def test_a_chunk_says_that_it_is_planes():
    raw = _skewed(3400)
    stored = encode_chunk(raw, [Segment(Form.Q8_0, 3400, 10)])
    assert stored[0] == Codec.PLANES
    assert decode_chunk(stored, digest_of(raw), len(raw)) == raw
    with pytest.raises(UnpackLimitError):
        decode_chunk(
            encode_chunk(raw, [Segment(Form.BYTES, 1400), Segment(Form.Q8_0, 2000)]), digest_of(raw), 3399
        )


@given(st.integers(0), st.integers(1, 255), st.booleans())
def test_any_flipped_byte_is_refused(place, flip, bundled):
    raw = _skewed(2040)
    segments = (
        [Segment(Form.Q8_0, 1020), Segment(Form.Q4_1, 1020)] if bundled else [Segment(Form.Q4_1, 2040, 3)]
    )
    stored = bytearray(encode_chunk(raw, segments))
    stored[place % len(stored)] ^= flip
    try:
        assert decode_chunk(bytes(stored), digest_of(raw), len(raw)) == raw  # a bit that zstd ignores
    except (ChunkMismatchError, UnpackLimitError):
        return


@given(st.binary(max_size=200), st.integers(1, 5000))
def test_anything_at_all_is_refused_in_order(payload, length):
    try:
        assert len(decode_planes(memoryview(payload), length, "it")) == length
    except (ChunkMismatchError, UnpackLimitError):
        return


def test_a_bomb_unpacks_to_no_more_than_its_plane():
    bomb = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(1 << 28))
    payload = bytes([1, Form.BYTES, 0, 1, 1]) + bytes(
        [len(bomb) & 127 | 128, len(bomb) >> 7 & 127 | 128, len(bomb) >> 14]
    )
    with pytest.raises(ChunkMismatchError):
        decode_planes(memoryview(payload + bomb), 1000, "it")
