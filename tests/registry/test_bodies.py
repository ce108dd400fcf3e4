"""Forms, what headers ask for, and zstd that unpacks to no more than it may."""

from __future__ import annotations

import os
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from registry.bodies import (
    JSON_TYPE,
    MSGPACK_TYPE,
    Inflater,
    Refusals,
    accepts_zstd,
    coding_of,
    compress,
    decode,
    encode,
    form_of,
    names_type,
    prefers_msgpack,
    unpack,
)
from registry.errors import BodyTooLargeError, ChunkMismatchError, InputInvalidError, UnpackLimitError

BODY = Refusals("the body")
UNSIZED = zstandard.ZstdCompressor(write_content_size=False)


@pytest.mark.parametrize(
    ("header", "form"),
    [
        ("application/json", JSON_TYPE), ("Application/JSON; charset=UTF-8", JSON_TYPE),
        ('application/json; charset="utf-8"', JSON_TYPE), ("application/json;charset=utf-16", None),
        ("application/msgpack", MSGPACK_TYPE), ("application/x-msgpack", MSGPACK_TYPE),
        ("application/vnd.msgpack", MSGPACK_TYPE), ("text/plain", None), ("", None), ("application/jsonp", None),
        ("text/plain; application/json", None),
    ],
)  # fmt: skip
def test_a_form_must_be_declared(header, form):
    assert form_of(header) == form


@pytest.mark.parametrize(
    ("header", "coding"),
    [("", "identity"), ("identity", "identity"), (" ZSTD ", "zstd"), ("gzip", None), ("zstd, zstd", None)],
)
def test_codings(header, coding):
    assert coding_of(header) == coding


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("zstd", True), ("gzip, ZSTD;q=0.5", True), ("zstd;q=0", False), ("zstd; q=0.000", False), ("", False),
        ("*", False), ("zstd;q=abc", False), ("zstd;q=-1", False), ("zstandard", False), ("zstd;q=1.000", True),
        ("zstd;q=2", False), ("zstd;q=1.1", False), ("zstd;q=", False), ("zstd;q=0.1234", False),
    ],
)  # fmt: skip
def test_zstd_only_for_who_names_it(header, accepted):
    assert accepts_zstd(header) is accepted


@pytest.mark.parametrize(
    ("header", "preferred"),
    [
        ("application/msgpack", True), ("application/msgpack, application/json;q=0.5", True), ("*/*", False),
        ("application/json, application/msgpack;q=0.5", False), ("application/x-msgpack", True), ("", False),
        ("application/msgpack;q=0", False), ("application/json", False),
    ],
)  # fmt: skip
def test_msgpack_only_for_who_prefers_it(header, preferred):
    assert prefers_msgpack(header) is preferred


@given(st.text(max_size=50))
def test_any_header_is_understood_or_counted_as_nothing(header):
    assert accepts_zstd(header) in {True, False}
    assert prefers_msgpack(header) in {True, False}
    assert names_type(header, "text/x") in {True, False}
    assert form_of(header) in {JSON_TYPE, MSGPACK_TYPE, None}


@pytest.mark.parametrize("form", [JSON_TYPE, MSGPACK_TYPE])
def test_both_forms_there_and_back(form):
    assert decode(encode({"a": 1}, form), form, dict) == {"a": 1}
    with pytest.raises(InputInvalidError, match="empty"):
        decode(b"", form, dict)


@given(data=st.binary(max_size=3000), extra=st.integers(0, 10), sized=st.booleans())
def test_what_was_packed_unpacks_within_its_limit(data, extra, sized):
    packed = zstandard.ZstdCompressor(write_content_size=sized).compress(data)
    assert unpack(packed, len(data) + extra, BODY) == data
    if data:
        with pytest.raises(BodyTooLargeError):
            unpack(packed, len(data) - 1, BODY)


@given(st.binary(max_size=200))
def test_bytes_that_are_not_zstd_are_refused(data):
    try:
        unpack(data, 10_000, BODY)
    except (InputInvalidError, BodyTooLargeError):
        return
    assert data.startswith(b"\x28\xb5\x2f\xfd") or data[1:4] == b"\x2a\x4d\x18"


@given(data=st.binary(min_size=1, max_size=500), sized=st.booleans(), checked=st.booleans(), cut=st.data())
def test_a_body_cut_off_anywhere_is_refused(data, sized, checked, cut):
    packed = zstandard.ZstdCompressor(write_content_size=sized, write_checksum=checked).compress(data)
    kept = cut.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(InputInvalidError, match="truncated"):
        unpack(packed[:kept], 10_000, BODY)


@pytest.mark.parametrize("step", [1, 7, 10**6])
def test_frames_one_after_the_other_are_one_body(step):
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    packed = compress(b"one ") + skippable + UNSIZED.compress(b"two ") + compress(b"three")
    inflater = Inflater("zstd", 100, BODY)
    parts = [inflater.feed(packed[start : start + step]) for start in range(0, len(packed), step)]
    inflater.finish()
    assert b"".join(parts) == b"one two three"


def test_more_frames_than_anybody_sends_are_refused():
    assert unpack(compress(b"") * 1000, 10, BODY) == b""
    with pytest.raises(InputInvalidError, match="frames"):
        unpack(compress(b"") * 1001, 10, BODY)


def test_a_bomb_takes_no_more_memory_than_its_limit():
    bomb = zstandard.compress(bytes(10**9), 3)
    assert len(bomb) < 10**5
    for limit_bytes in (100, 10**6):
        tracemalloc.start()
        try:
            with pytest.raises(BodyTooLargeError, match=f"the body unpacks to more than {limit_bytes} bytes"):
                unpack(bomb, limit_bytes, BODY)
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak_bytes < limit_bytes + 512 * 1024


def test_a_window_that_a_decoder_need_not_have_is_refused():
    wide = zstandard.ZstdCompressionParameters.from_level(3, window_log=24, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    packed = packer.compress(b"x" * 1000) + packer.flush()
    with pytest.raises(InputInvalidError, match="memory"):
        unpack(packed, 10_000, BODY)


def test_each_side_raises_its_own_errors_in_its_own_words():
    own = Refusals("the answer", invalid=ChunkMismatchError, too_large=UnpackLimitError)
    with pytest.raises(UnpackLimitError, match="the answer unpacks to more than 9 bytes"):
        unpack(compress(b"x" * 10), 9, own)
    with pytest.raises(UnpackLimitError, match="the answer has more than 9 bytes"):
        Inflater("identity", 9, own).feed(b"x" * 10)
    with pytest.raises(ChunkMismatchError, match="the answer is not valid zstd"):
        unpack(os.urandom(1) + b"not zstd", 9, own)
