"""Frames in pieces, garbage and giants."""

import itertools

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.engines import Cancel, ChatMessage, Command, Delta, Embedded, Event, Generate, Sampling
from edge_node.engines.framing import FrameInvalidError, FrameReader, encode_frame

GENERATE = Generate(
    request_id="r1",
    messages=(ChatMessage(role="user", content="Grüße, 世界"),),
    sampling=Sampling(max_tokens=7, logit_bias={5: -1.5, 70000: 2.0}, stop=("\n",)),
)
EMBEDDED = Embedded(request_id="r2", vectors=bytes(range(256)), dims=64, prompt_tokens=3, service_s=0.25)


def test_commands_and_events_come_back_as_they_were():
    assert list(FrameReader(Command).feed(encode_frame(GENERATE) + encode_frame(Cancel("r1")))) == [
        GENERATE,
        Cancel("r1"),
    ]
    assert list(FrameReader(Event).feed(encode_frame(EMBEDDED))) == [EMBEDDED]


@given(st.lists(st.integers(0, 400), max_size=8))
def test_pieces_of_any_size_make_the_same_messages(cuts):
    data = encode_frame(GENERATE) + encode_frame(Cancel("r9"))
    reader = FrameReader(Command)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    got = [message for start, end in itertools.pairwise(edges) for message in reader.feed(data[start:end])]
    assert got == [GENERATE, Cancel("r9")]


@pytest.mark.parametrize(
    "data",
    [
        b"\x01",
        b"\xc1",
        msgpack.packb({"type": "delta"}),
        msgpack.packb({"type": "nonsense", "request_id": "r"}),
        msgpack.packb(["type", "delta"]),
        msgpack.packb({"type": "delta", "request_id": 5, "text": "", "tokens_count": 1}),
    ],
)
def test_garbage_is_named_as_such(data):
    with pytest.raises(FrameInvalidError):
        list(FrameReader(Event).feed(data))


def test_a_frame_over_the_limit_is_refused_before_it_is_whole():
    reader = FrameReader(Event, limit_bytes=1000)
    frame = encode_frame(Delta("r", "x" * 5000, 1))
    assert [list(reader.feed(frame[start : start + 100])) for start in range(0, 1000, 100)] == [[]] * 10
    with pytest.raises(FrameInvalidError, match="limit of 1000 bytes"):
        list(reader.feed(frame[1000:1100]))


def test_a_length_that_lies_takes_no_more_memory_than_the_limit():
    reader = FrameReader(Event, limit_bytes=1000)
    claims_four_gigabytes = b"\xc6\xff\xff\xff\xff"
    assert list(reader.feed(claims_four_gigabytes + bytes(900))) == []
    with pytest.raises(FrameInvalidError, match="limit of 1000 bytes"):
        list(reader.feed(bytes(200)))


def test_text_that_is_not_unicode_is_refused_on_our_side():
    with pytest.raises(FrameInvalidError, match="Unicode"):
        encode_frame(Generate(request_id="r", text="\ud800"))
