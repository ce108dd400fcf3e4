"""Messages from strangers: the engine's channel, bodies, headers, streams, answers, tensors."""

from __future__ import annotations

from edge_node.api.requests import ChatRequest, CompletionRequest, EmbeddingsRequest
from edge_node.client.chunks import FRAME_LIMIT_BYTES, read_chunk
from edge_node.client.payload import decode_body, error_in
from edge_node.client.sse import SseParser
from edge_node.engines import Cancel, ChatMessage, Command, Delta, Embedded, Event, Generate, Sampling
from edge_node.engines.framing import FrameReader, encode_frame
from edge_node.web.tensor_forms import read_infer
from origin.api import Directive, NodeReport, RouteQuery
from registry import bodies, wire
from registry.errors import EdgewardError
from registry.message_stream import MessageSplitter

BODY_LIMIT_BYTES = 256 * 1024


def read_frames(data: bytes) -> None:
    """The engine's channel, either end, in pieces."""
    for kind in (Command, Event):
        reader = FrameReader(kind, limit_bytes=1 << 20)
        try:
            for start in range(0, len(data), 37):
                list(reader.feed(data[start : start + 37]))
        except EdgewardError:
            continue


def frame_seeds() -> list[bytes]:
    """Commands and events."""
    generate = Generate(
        request_id="r1",
        messages=(ChatMessage(role="user", content="Grüße"),),
        sampling=Sampling(max_tokens=7, logit_bias={5: -1.5}, stop=("\n",)),
    )
    vectors = Embedded(request_id="r2", vectors=bytes(16), dims=4, prompt_tokens=3, service_s=0.25)
    return [
        encode_frame(generate) + encode_frame(Cancel("r1")),
        encode_frame(Delta("r", "text", 1)) + encode_frame(vectors),
    ]


BODY_KINDS = (ChatRequest, CompletionRequest, EmbeddingsRequest, NodeReport, RouteQuery, Directive)


def read_body(data: bytes) -> None:
    """A byte that chooses form, coding and message, then the body."""
    choice, body = (data[0], data[1:]) if data else (0, b"")
    form = bodies.MSGPACK_TYPE if choice & 1 else bodies.JSON_TYPE
    inflater = bodies.Inflater(
        "zstd" if choice & 2 else "identity", BODY_LIMIT_BYTES, bodies.Refusals("the body")
    )
    plain = b"".join(inflater.feed(body[start : start + 100]) for start in range(0, len(body), 100))
    assert len(plain) <= BODY_LIMIT_BYTES
    inflater.finish()
    bodies.decode(plain, form, BODY_KINDS[(choice >> 2) % len(BODY_KINDS)])


def body_seeds() -> list[bytes]:
    """Both forms, plain and in zstd."""
    chat = {"model": "chat", "messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}
    route = {"model": "chat", "place": {"lat": 1.0, "lon": 2.0}}
    found = []
    for number, message in ((0, chat), (4, route), (1, {"model": "m", "prompt": ["a", 5, [6]]})):
        for form in (0, 1):
            plain = wire.to_msgpack(message) if form else wire.to_json(message)
            found += [
                bytes([form | number << 2]) + plain,
                bytes([form | 2 | number << 2]) + bodies.compress(plain),
            ]
    return found


def read_headers(data: bytes) -> None:
    """Headers that decide how bodies travel."""
    text = data.decode("latin-1")
    bodies.form_of(text)
    bodies.coding_of(text)
    bodies.prefers_msgpack(text)
    bodies.accepts_zstd(text)
    bodies.names_type(text, "text/event-stream")


def header_seeds() -> list[bytes]:
    """What clients send."""
    return [
        b"application/json; charset=utf-8",
        b"zstd;q=0.5, gzip, *;q=0",
        b"application/msgpack;q=1.0, */*;q=0.1",
    ]


def read_events(data: bytes) -> None:
    """Server-sent events as a client reads them."""
    parser = SseParser()
    for start in range(0, len(data), 11):
        for event in parser.feed(data[start : start + 11]):
            try:
                read_chunk(event.data.encode(), bodies.JSON_TYPE)
            except EdgewardError:
                continue


def event_seeds() -> list[bytes]:
    """A stream of two chunks."""
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}'
    return [b": comment\r\n" + chunk + b"\n\n" + chunk + b"\r\rdata: [DONE]\n\n"]


def read_chunk_frames(data: bytes) -> None:
    """A framed stream as a client reads it, in pieces."""
    splitter = MessageSplitter(FRAME_LIMIT_BYTES)
    for start in range(0, len(data), 29):
        for message in splitter.feed(data[start : start + 29]):
            try:
                read_chunk(message, bodies.MSGPACK_TYPE)
            except EdgewardError:
                continue


def chunk_frame_seeds() -> list[bytes]:
    """Chunks of a chat and of a completion, and an error."""
    frames = (
        {"choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [1]}}], "model": "m@1"},
        {"choices": [{"index": 1, "text": "b", "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}},
        {"error": {"message": "no", "code": "node.overloaded", "param": None, "retry_after_s": 0.5}},
    )
    return [b"".join(map(wire.to_msgpack, frames)), wire.to_msgpack(frames[2])]


def read_answer(data: bytes) -> None:
    """A byte that chooses the form, then a node's answer or error as a client reads it."""
    form = bodies.MSGPACK_TYPE if data[:1] == b"m" else bodies.JSON_TYPE
    plain = decode_body(data[1:], form)
    error_in(plain, 500, {})


def answer_seeds() -> list[bytes]:
    """An error in both forms."""
    refusal = {"error": {"message": "no", "code": "model.not_ready", "param": "model", "retry_after_s": 2}}
    return [b"m" + wire.to_msgpack(refusal), b"j" + wire.to_json(refusal)]


def read_tensors(data: bytes) -> None:
    """Two bytes for the length of the JSON, then a request about tensors."""
    json_bytes, body = int.from_bytes(data[:2], "little"), data[2:]
    read_infer(body, min(json_bytes, len(body)))


def tensor_seeds() -> list[bytes]:
    """Tensors in both forms."""
    flat = {"name": "x", "shape": [2, 2], "datatype": "FP32", "data": [[1, 2], [3.5, 4]]}
    words = {"name": "w", "shape": [1], "datatype": "BYTES", "data": ["ä"]}
    raw = {"name": "r", "shape": [4], "datatype": "INT8", "parameters": {"binary_data_size": 4}}
    head = wire.to_json({"inputs": [flat, words, raw], "outputs": [{"name": "y"}]})
    return [len(head).to_bytes(2, "little") + head + bytes(4)]
