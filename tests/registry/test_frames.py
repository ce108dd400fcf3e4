"""A frame of known length: nothing that it says about itself makes it take more memory."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
import zstandard

from registry.errors import ChunkMismatchError
from registry.frames import unpack_frame


@pytest.mark.parametrize("declares", [True, False])
def test_a_frame_of_the_right_length(declares):
    packer = zstandard.ZstdCompressor(write_content_size=declares)
    assert unpack_frame(memoryview(packer.compress(b"abc" * 99)), 297, "it") == b"abc" * 99
    assert unpack_frame(memoryview(packer.compress(b"")), 0, "it") == b""


@pytest.mark.parametrize("length", [0, 296, 298])
@pytest.mark.parametrize("declares", [True, False])
def test_a_frame_of_another_length_is_refused(declares, length):
    frame = zstandard.ZstdCompressor(write_content_size=declares).compress(b"abc" * 99)
    with pytest.raises(ChunkMismatchError, match="it is damaged"):
        unpack_frame(memoryview(frame), length, "it")


@pytest.mark.parametrize("cut", [1, 5, -1])
def test_a_torn_frame_is_refused(cut):
    frame = zstandard.compress(bytes(range(256)))
    for torn in (frame[:cut], frame + b"x"):
        with pytest.raises(ChunkMismatchError):
            unpack_frame(memoryview(torn), 256, "it")


def test_a_lying_header_takes_no_memory():
    # Magic, a single segment with an 8-byte content size of 1 TiB, one empty last block (RFC 8878, 3.1.1).
    lie = struct.pack("<IBQ", 0xFD2FB528, 0b11100000, 1 << 40) + b"\x01\x00\x00"
    tracemalloc.start()
    try:
        with pytest.raises(ChunkMismatchError, match="declares another length"):
            unpack_frame(memoryview(lie), 100, "it")
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_frame_that_copies_from_a_dictionary():
    base = bytes(range(256)) * 8
    whole = zstandard.ZstdCompressionDict(base, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    frame = memoryview(zstandard.ZstdCompressor(dict_data=whole).compress(base))
    assert unpack_frame(frame, len(base), "it", dictionary=base) == base
    with pytest.raises(ChunkMismatchError):
        unpack_frame(frame, len(base), "it", dictionary=base[::-1][:5])
