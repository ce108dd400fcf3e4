"""Bodies that arrive in pieces, too long, or not at all."""

from __future__ import annotations

import asyncio

import pytest

from registry.arriving import decode_aside, read_bounded, unpack_aside
from registry.bodies import JSON_TYPE, Refusals, compress
from registry.errors import BodyTimeoutError, BodyTooLargeError

BODY = Refusals("the body")


class Arriving:
    def __init__(self, *pieces):
        self.pieces = list(pieces)

    async def readany(self):
        return self.pieces.pop(0) if self.pieces else b""


class Silent:
    async def readany(self):
        await asyncio.Event().wait()


@pytest.mark.parametrize("declared_bytes", [None, 6])
async def test_pieces_become_a_body(declared_bytes):
    assert await read_bounded(Arriving(b"abc", b"d", b"ef"), declared_bytes, 6, 60.0, BODY) == b"abcdef"


async def test_a_body_that_declares_too_much_is_not_read():
    stream = Arriving(b"abcdef")
    with pytest.raises(BodyTooLargeError, match="the body is larger than the 5 bytes"):
        await read_bounded(stream, 6, 5, 60.0, BODY)
    assert stream.pieces == [b"abcdef"]


async def test_a_body_that_declares_nothing_is_read_up_to_the_limit():
    stream = Arriving(*[b"abc"] * 10)
    with pytest.raises(BodyTooLargeError):
        await read_bounded(stream, None, 5, 60.0, BODY)
    assert len(stream.pieces) == 8


async def test_a_body_that_does_not_come_is_given_up():
    with pytest.raises(BodyTimeoutError, match=r"the body did not arrive within 0\.001 s"):
        await read_bounded(Silent(), None, 5, 0.001, BODY)


async def test_large_and_small_bodies_are_the_same_aside():
    for text in ("x", "x" * 100_000):
        packed = compress(b'"' + text.encode() + b'"')
        assert await decode_aside(await unpack_aside(packed, 200_000, BODY), JSON_TYPE, str) == text
