"""Readers of foreign bytes: whatever comes, only EdgewardError comes out, in little memory."""

import random
import tracemalloc
from pathlib import Path

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.api.requests import ChatRequest, CompletionRequest
from edge_node.api.responses_requests import ResponsesRequest
from edge_node.client.chunks import read_chunk
from edge_node.client.payload import decode_body
from edge_node.engines import Event
from edge_node.engines.framing import FrameInvalidError, FrameReader
from edge_node.errors import AnswerInvalidError
from edge_node.web.tensor_forms import read_infer
from registry import bodies, wire
from registry.errors import EdgewardError, InputInvalidError, ManifestInvalidError
from registry.manifest import decode_manifest, pack_manifest
from registry.value_count import VALUES_LIMIT_COUNT

NAMES = (
    "trust", "root", "statements", "manifest", "manifest_map", "planes", "chunk", "difference", "delta", "delta_index",
    "gguf", "safetensors", "onnx", "frames", "body", "headers", "events",
    "chunk_frames", "answer", "tensors",
)  # fmt: skip
CRASHES = sorted(path for path in (Path(__file__).parent / "crashes").glob("*/*"))
LITTLE_BYTES = 48 * 2**20


def test_every_target_is_here(fuzzing):
    assert tuple(fuzzing["foreign_bytes"].TARGETS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_is_right_is_taken(name, fuzzing):
    seeds = fuzzing["foreign_bytes"].TARGETS[name].seeds()
    assert any(fuzzing["foreign_bytes"].check(name, seed) for seed in seeds)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60)
@given(data=st.binary(max_size=200), number=st.integers(0, 2**32))
def test_only_refusals_come_out(name, data, number, fuzzing):
    check, seeds = fuzzing["foreign_bytes"].check, fuzzing["foreign_bytes"].TARGETS[name].seeds()
    check(name, data)
    chance = random.Random(number)
    check(name, fuzzing["fuzz"].changed(chance.choice(seeds), [*seeds, data], chance))


@pytest.mark.parametrize("path", CRASHES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_broke_a_reader_once_does_not_any_more(path, fuzzing):
    fuzzing["foreign_bytes"].check(path.parent.name, path.read_bytes())


@pytest.fixture
def peak_bytes():
    """How much memory was taken at the worst moment since the test began."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def varied(**fields):
    """The map of a manifest of one empty release, but for these fields."""
    return {
        "schema": 2, "name": "m", "version": "1", "created_unix_s": 0, "license": "",
        "variants": [], "packs": {"digest": b"", "length": b""},
        "chunks": {"digest": b"", "pack": b"", "gap": b"", "stored": b""},
        "pieces": {"chunk": b"", "file": b"", "extents": b""}, "extents": {"gap": b"", "length": b""},
    } | fields  # fmt: skip


def test_values_that_nobody_asked_for_are_not_made(peak_bytes):
    """3 kB that unpack to 128 MiB of empty maps would have taken 8 GiB."""
    count = 8_000_000
    for lead in (b"\xdd" + count.to_bytes(4, "big"), b"\x91" * count):
        plain = b"\x82\xa6schema\x02\xa1x" + lead + b"\x80" * count
        stored = pack_manifest(plain)
        with pytest.raises(ManifestInvalidError):
            decode_manifest(stored)
    assert peak_bytes() < LITTLE_BYTES


@pytest.mark.parametrize(
    "fields",
    [
        {"variants": [{"abilities": [""] * 2_000_000}]},
        {"variants": [{}] * 2_000_000},
        {"pieces": {"chunk": bytes(4_000_000), "file": bytes(4_000_000), "extents": b"\1" * 4_000_000}},
        {"extents": {"gap": bytes(4_000_000), "length": b"\1" * 4_000_000}},
    ],
    ids=["abilities", "variants", "pieces", "extents"],
)
def test_rows_that_compress_to_nothing_are_counted_before_they_are_made(fields, peak_bytes):
    plain = msgpack.packb(varied(**fields))
    stored = pack_manifest(plain)
    del plain
    tracemalloc.reset_peak()
    with pytest.raises(ManifestInvalidError):
        decode_manifest(stored)
    assert peak_bytes() < LITTLE_BYTES


def test_a_key_that_cannot_be_a_key_is_refused():
    with pytest.raises(FrameInvalidError):
        list(FrameReader(Event).feed(b"\x81\x80\xc0"))


def test_lengths_that_lie_take_nothing(peak_bytes):
    for lead in (b"\xdd", b"\xdf", b"\xdb", b"\xc6"):
        with pytest.raises(wire.InputInvalidError):
            wire.from_msgpack(lead + b"\xff\xff\xff\xff", dict[str, list[str]])
        reader = FrameReader(Event, limit_bytes=1 << 20)
        with pytest.raises(FrameInvalidError):
            list(reader.feed((lead + b"\x00\x0f\xff\xff") * 1000 + bytes(1 << 20)))
    assert peak_bytes() < LITTLE_BYTES


# What one of them counts in msgpack and in JSON, where an empty map counts as if it held something; and its bytes.
BOMBS = {
    "maps": ((1, 2), b"\x80", b"{}"),
    "maps_of_one": ((3, 3), b"\x81\xa1a\x00", b'{"a":0}'),
}
ANY_FIELDS = [
    (ChatRequest, {"model": "m", "messages": [{"role": "user", "content": "x"}]}, "metadata"),
    (ResponsesRequest, {"model": "m"}, "input"),
    (CompletionRequest, {"model": "m"}, "prompt"),
]


def with_list(form, fields, name, item, count):
    """A message with so many items in one field, made without making them."""
    if form == bodies.JSON_TYPE:
        head = wire.to_json({**fields, name: 7})
        return head[: -len(b"7}")] + b"[" + b",".join([item[2]] * count) + b"]}"
    head = wire.to_msgpack({**fields, name: 7})
    return head[:-1] + b"\xdd" + count.to_bytes(4, "big") + item[1] * count


@pytest.mark.parametrize("item", BOMBS.values(), ids=BOMBS)
@pytest.mark.parametrize("form", [bodies.MSGPACK_TYPE, bodies.JSON_TYPE])
@pytest.mark.parametrize("field", ANY_FIELDS, ids=lambda field: f"{field[0].__name__}-{field[2]}")
def test_no_request_takes_more_than_a_few_times_its_size(field, form, item, peak_bytes):
    """32 MiB of empty maps, 1 kB in zstd, took 2.3 GiB. What may be made at all takes at most 48 MiB."""
    kind, fields, name = field
    per_item = item[0][form == bodies.JSON_TYPE]
    for count, too_many in ((300_000, True), (VALUES_LIMIT_COUNT // per_item - 20, False)):
        body = with_list(form, fields, name, item, count)
        tracemalloc.reset_peak()
        before_bytes = tracemalloc.get_traced_memory()[0]
        refusal = None
        try:
            bodies.decode(body, form, kind)
        except InputInvalidError as error:
            refusal = error
        assert (refusal is not None and "values" in refusal.message) is too_many
        assert peak_bytes() - before_bytes < LITTLE_BYTES
        del refusal


@pytest.mark.parametrize("form", [bodies.MSGPACK_TYPE, bodies.JSON_TYPE])
def test_no_answer_of_a_node_takes_more_than_a_few_times_its_size(form, peak_bytes):
    for read, name, count in (
        (read_chunk, "choices", 300_000),
        (read_chunk, "logprobs", 300_000),
        (decode_body, "choices", 2_200_000),
    ):
        body = with_list(form, {"model": "m"}, name, BOMBS["maps"], count)
        tracemalloc.reset_peak()
        before_bytes = tracemalloc.get_traced_memory()[0]
        with pytest.raises(AnswerInvalidError, match="values"):
            read(body, form)
        assert peak_bytes() - before_bytes < LITTLE_BYTES


@pytest.mark.parametrize("part", ['{"":{"":{}}}', "[[],{}]"])
def test_no_tensor_in_json_takes_more_than_its_elements(part, peak_bytes):
    body = b'{"inputs":[{"name":"x","shape":[9],"datatype":"FP32","data":[' + b",".join(
        [part.encode()] * 1_100_000
    )
    body += b"]}]}"
    tracemalloc.reset_peak()
    before_bytes = tracemalloc.get_traced_memory()[0]
    with pytest.raises(EdgewardError):
        read_infer(body, len(body))
    assert peak_bytes() - before_bytes < len(body) + LITTLE_BYTES
