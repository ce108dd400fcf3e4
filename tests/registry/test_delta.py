import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.chunking import Extent, Segment
from registry.delta import (
    Coded,
    Entry,
    Mode,
    decode_entry,
    decode_index,
    decode_manifest_patch,
    decode_patch,
    encode_delta,
    encode_patch,
    head_bytes,
    new_chunks,
)
from registry.digest import digest_of
from registry.element_forms import BLOCK_BYTES, Form
from registry.errors import ChunkMismatchError, UnpackLimitError
from registry.manifest import (
    Chunk,
    Manifest,
    Pack,
    Piece,
    ReleaseFile,
    Variant,
    encode_manifest,
    unpack_manifest,
)
from registry.packing import encode_chunk
from registry.plane_differences import decode_difference, encode_difference


def _manifest(version, raws):
    chunks, pieces, offset = [], [], 0
    for number, raw in enumerate(raws):
        chunks.append(Chunk(digest_of(raw), len(raw), 0, offset, len(raw)))
        pieces.append(Piece(number, 0, (Extent(offset, len(raw)),)))
        offset += len(raw)
    file = ReleaseFile("m.gguf", offset, digest_of(b"".join(raws)))
    return Manifest(
        name="m", version=version, created_unix_s=0,
        variants=(Variant(name="v", kind="gguf", files=(file,)),),
        packs=(Pack(digest_of(version.encode()), offset),), chunks=tuple(chunks), pieces=tuple(pieces),
    )  # fmt: skip


BASE = [bytes([number]) * 500 + random.Random(number).randbytes(500) for number in range(6)]
NEW = [*BASE[:2], BASE[2][:-3] + b"new", BASE[3], random.Random(77).randbytes(300)]


def _delta():
    base, new = _manifest("1", BASE), _manifest("2", NEW)
    plains = [unpack_manifest(encode_manifest(manifest)) for manifest in (new, base)]
    coded = [Coded(Mode.PATCH, 2, encode_patch(NEW[2], BASE[2])), Coded(Mode.STORED, 0, encode_chunk(NEW[4]))]
    delta = encode_delta(*plains, coded)
    assert delta is not None
    return delta, new, base, plains


def _applied(delta, new, base, plains):
    """The raw bytes of the new chunks that a delta makes."""
    head = head_bytes(delta)
    plain, index = decode_manifest_patch(delta[:head], plains[1], digest_of(plains[0]))
    assert plain == plains[0]
    return {
        entry.chunk: decode_entry(
            entry,
            memoryview(delta)[entry.offset_bytes : entry.offset_bytes + entry.length_bytes],
            new.chunks[entry.chunk],
            BASE[entry.against] if entry.mode != Mode.STORED else b"",
        )
        for entry in decode_index(index, new, base, head)
    }


def test_a_delta_makes_the_manifest_and_the_new_chunks():
    delta, new, base, plains = _delta()
    assert new_chunks(new, base) == [2, 4]
    assert _applied(delta, new, base, plains) == {2: NEW[2], 4: NEW[4]}
    assert len(delta) < 300 + 300


@given(st.integers(0), st.integers(1, 255))
def test_any_flipped_byte_is_refused(place, flip):
    delta, new, base, plains = _delta()
    spoiled = bytearray(delta)
    spoiled[place % len(delta)] ^= flip
    try:
        assert _applied(bytes(spoiled), new, base, plains) == {2: NEW[2], 4: NEW[4]}
    except (ChunkMismatchError, UnpackLimitError):
        return


def test_a_delta_from_another_base_is_refused():
    delta, _, _, plains = _delta()
    other = unpack_manifest(encode_manifest(_manifest("9", [b"other"])))
    with pytest.raises(ChunkMismatchError):
        decode_manifest_patch(delta[: head_bytes(delta)], other, digest_of(plains[0]))


@pytest.mark.parametrize("start", [b"", b"<html>", b"EAD1", b"EAD1\xff\xff\xff\xff"])
def test_what_is_no_delta_is_refused(start):
    with pytest.raises(ChunkMismatchError):
        head_bytes(start)


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"\x00",
        b"\x09\x00\x01",
        b"\x01\x0c\x01\x00\x00\x01",
        b"\x01\x01\x01",
        b"\x00\x00\xff\xff\xff\x7f",
    ],
)
def test_an_index_that_makes_no_sense_is_refused(index):
    with pytest.raises(ChunkMismatchError):
        decode_index(index, _manifest("2", NEW), _manifest("1", BASE), 0)


def test_a_patch_that_would_unpack_to_more_is_stopped():
    bomb = encode_patch(bytes(50_000_000), b"")
    with pytest.raises(ChunkMismatchError):
        decode_patch(memoryview(bomb), b"", 1000, "it")
    entry = Entry(0, Mode.PATCH, 0, 0, len(bomb))
    with pytest.raises(ChunkMismatchError):
        decode_entry(entry, memoryview(bomb), Chunk(digest_of(b"x"), 1000, 0, 0, 1), b"base")


@given(st.binary(max_size=3000), st.binary(max_size=3000))
def test_patches_round_trip(new, base):
    assert decode_patch(memoryview(encode_patch(new, base)), base, len(new), "it") == new


@given(
    st.lists(st.tuples(st.sampled_from(list(Form)), st.integers(1, 700)), min_size=1, max_size=5),
    st.integers(0, 99),
    st.sampled_from([0.0, 0.1, 1.0]),
)
def test_differences_of_every_form_round_trip(parts, seed, share):
    chance = np.random.default_rng(seed)
    length = sum(length for _, length in parts)
    before = chance.integers(0, 256, length, np.uint8)
    raw = np.where(chance.random(length) < share, chance.integers(0, 256, length, np.uint8), before).tobytes()
    segments = [Segment(form, length) for form, length in parts]
    packed = encode_difference(raw, before.tobytes(), segments, 3)
    assert decode_difference(memoryview(packed), before.tobytes(), "it") == raw


@pytest.mark.parametrize("form", [form for form in Form if form != Form.PLAIN])
def test_a_small_change_makes_a_small_difference(form):
    before = random.Random(1).randbytes(BLOCK_BYTES[form] * 1000)
    raw = bytearray(before)
    for place in range(0, len(raw), 997):
        raw[place] ^= 1
    packed = encode_difference(bytes(raw), before, [Segment(form, len(raw))], 19)
    assert len(packed) < max(200, len(raw) // 20)


@given(st.binary(max_size=300), st.integers(1, 2000))
def test_anything_at_all_is_refused_in_order(payload, length):
    try:
        decode_difference(memoryview(payload), bytes(length), "it")
    except ChunkMismatchError:
        return
