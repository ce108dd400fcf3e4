"""Where messages end, and what an endless one costs."""

import itertools

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import InputInvalidError
from registry.message_stream import MessageSplitter

LIMIT_BYTES = 1000
SMALL = [{"number": number, "text": "x" * (number % 90)} for number in range(200)]


def read(data, *, piece_bytes=1 << 20):
    splitter = MessageSplitter(LIMIT_BYTES)
    pieces = (data[start : start + piece_bytes] for start in range(0, len(data), piece_bytes))
    return [msgpack.unpackb(message) for piece in pieces for message in splitter.feed(piece)]


def test_small_messages_may_come_in_one_piece_that_is_over_the_limit():
    assert read(b"".join(map(msgpack.packb, SMALL))) == SMALL


def test_the_largest_message_may_be_followed_by_another_in_one_piece():
    largest = "x" * (LIMIT_BYTES - 3)
    data = msgpack.packb(largest) + msgpack.packb("next")
    assert len(msgpack.packb(largest)) == LIMIT_BYTES
    for piece_bytes in (1, 7, LIMIT_BYTES - 1, LIMIT_BYTES, LIMIT_BYTES + 1, len(data)):
        assert read(data, piece_bytes=piece_bytes) == [largest, "next"]


@pytest.mark.parametrize("piece_bytes", [1, 100, LIMIT_BYTES, 3 * LIMIT_BYTES])
@pytest.mark.parametrize(
    "endless",
    [
        b"\xdd\xff\xff\xff\xff" + b"\x01" * 3000,  # an array of four thousand million numbers
        b"\xdf\xff\xff\xff\xff" + b"\x01" * 3000,  # a map of as many
        b"\x91" * 3000,  # an array in an array in an array
        b"\xc6\xff\xff\xff\xff" + bytes(3000),
        msgpack.packb("x" * LIMIT_BYTES),
    ],
)
def test_a_message_over_the_limit_is_refused_however_it_is_made(endless, piece_bytes):
    splitter, fed = MessageSplitter(LIMIT_BYTES), bytearray()
    assert splitter.feed(msgpack.packb("before")) == [msgpack.packb("before")]

    def feed_all():
        for start in range(0, len(endless), piece_bytes):
            splitter.feed(endless[start : start + piece_bytes])
            fed.extend(endless[start : start + piece_bytes])

    with pytest.raises(InputInvalidError):
        feed_all()
    assert len(fed) <= LIMIT_BYTES


@given(st.lists(st.integers(0, 2000), max_size=8))
def test_pieces_of_any_size_make_the_same_messages(cuts):
    data = b"".join(map(msgpack.packb, SMALL[:30]))
    splitter = MessageSplitter(LIMIT_BYTES)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    got = [message for start, end in itertools.pairwise(edges) for message in splitter.feed(data[start:end])]
    assert [msgpack.unpackb(message) for message in got] == SMALL[:30]
