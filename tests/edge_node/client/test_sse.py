"""Server-sent events, cut anywhere."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.client.sse import EVENT_LIMIT_BYTES, ServerEvent, SseParser
from edge_node.errors import AnswerInvalidError

STREAM = (
    b"\xef\xbb\xbf: a comment\n\ndata: one\n\ndata:two\r\ndata: lines\r\n\r\nevent: error\rdata: x\r\r"
    + "data: Käse\u2028 here\nid: 7\nretry: 10\nnonsense\n\ndata\n\nevent: lost\n\ndata: cut off".encode()
)
EVENTS = [
    ServerEvent("one"),
    ServerEvent("two\nlines"),
    ServerEvent("x", "error"),
    ServerEvent("Käse\u2028 here"),
    ServerEvent(""),
]


def test_a_stream_in_one_piece():
    assert SseParser().feed(STREAM) == EVENTS


def test_a_stream_byte_by_byte():
    parser = SseParser()
    assert [event for i in range(len(STREAM)) for event in parser.feed(STREAM[i : i + 1])] == EVENTS


@given(st.lists(st.integers(0, len(STREAM))))
def test_a_stream_cut_anywhere(cuts):
    parser = SseParser()
    edges = [0, *sorted(cuts), len(STREAM)]
    got = [event for a, b in itertools.pairwise(edges) for event in parser.feed(STREAM[a:b])]
    assert got == EVENTS


@given(st.binary())
def test_any_bytes_are_taken(data):
    SseParser().feed(data)


@pytest.mark.parametrize("piece", [b"x" * 2**20, b"data: " + b"x" * 2**20 + b"\n"])
def test_an_endless_event_is_refused(piece):
    parser = SseParser()
    for _ in range(EVENT_LIMIT_BYTES // 2**20 - 1):
        assert parser.feed(piece) == []
    with pytest.raises(AnswerInvalidError, match="longer than"):
        parser.feed(piece * 2)
