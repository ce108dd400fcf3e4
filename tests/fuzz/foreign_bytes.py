"""Everything that reads bytes from strangers, each as a function of bytes: only EdgewardError may come out of it.

A target returns when the bytes were read or refused, and raises anything else: what a reader should never raise, or an
AssertionError when it took bytes that break a promise (a path that leaves its directory, spans that leave gaps).
"""

from __future__ import annotations

import io
import random
from functools import cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from registry.chunking import PIECE_LIMIT_BYTES, Extent, Segment, cut
from registry.delta import (
    Coded,
    Entry,
    Mode,
    decode_entry,
    decode_index,
    decode_manifest_patch,
    encode_delta,
    encode_patch,
    head_bytes,
)
from registry.digest import digest_of
from registry.element_forms import BLOCK_BYTES, Form
from registry.errors import EdgewardError
from registry.formats import inspect_open
from registry.manifest import (
    Chunk as ChunkRow,
)
from registry.manifest import (
    Manifest,
    Pack,
    Piece,
    ReleaseFile,
    Variant,
    decode_manifest,
    encode_manifest,
    pack_manifest,
    unpack_manifest,
)
from registry.packing import decode_chunk, encode_chunk
from registry.plane_coding import decode_planes, encode_planes
from registry.plane_differences import decode_difference, encode_difference
from registry.varint import put_varint
from tests.fuzz import foreign_messages, foreign_trust
from tests.registry import conftest as makers

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent.parent
CHUNK_BYTES = 64 * 1024


class Target(NamedTuple):
    """One reader: what it reads, and bytes to begin from."""

    read: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]


def _raws(seed: int = 1) -> list[bytes]:
    chance = random.Random(seed)
    return [bytes([number]) * 300 + chance.randbytes(200) for number in range(4)]


def _manifest(version: str, raws: list[bytes]) -> Manifest:
    chunks, pieces, offset = [], [], 0
    for number, raw in enumerate(raws):
        chunks.append(ChunkRow(digest_of(raw), len(raw), 0, offset, len(raw)))
        pieces.append(Piece(number, 0, (Extent(offset, len(raw)),)))
        offset += len(raw)
    file = ReleaseFile("m.gguf", offset, digest_of(b"".join(raws)))
    return Manifest(
        name="team/chat", version=version, created_unix_s=0, license_name="MIT",
        variants=(Variant(name="v", kind="gguf", files=(file,), abilities=("chat",)),),
        packs=(Pack(digest_of(version.encode()), offset),), chunks=tuple(chunks), pieces=tuple(pieces),
    )  # fmt: skip


BASE = _raws()
NEW = [*BASE[:2], BASE[2][:-3] + b"new", b"other" * 80]


@cache
def _manifests() -> tuple[Manifest, Manifest]:
    return _manifest("1", BASE), _manifest("2", NEW)


# Manifests


def read_manifest(data: bytes) -> None:
    """The stored form; what was taken is written and read the same, and its paths stay inside."""
    manifest = decode_manifest(data)
    assert decode_manifest(encode_manifest(manifest)) == manifest
    for file in manifest.files:
        path = PurePosixPath(file.path)
        assert not path.is_absolute()
        assert ".." not in path.parts
    assert sum(file.size_bytes for file in manifest.files) == sum(
        extent.length_bytes for piece in manifest.pieces for extent in piece.extents
    )


def read_manifest_map(plain: bytes) -> None:
    """The map inside."""
    read_manifest(pack_manifest(plain))


def manifest_seeds() -> list[bytes]:
    """Two releases."""
    return [encode_manifest(manifest) for manifest in _manifests()]


# Chunks


def _split_number(data: bytes) -> tuple[int, bytes]:
    return int.from_bytes(data[:2], "little"), data[2:]


def read_planes(data: bytes) -> None:
    """Two bytes of declared length, then planes."""
    raw_bytes, payload = _split_number(data)
    assert len(decode_planes(memoryview(payload), raw_bytes, "the chunk")) == raw_bytes


def plane_seeds() -> list[bytes]:
    """Each form alone, with rows and a tail, and a mixture."""
    chance = random.Random(3)
    found = []
    for form in Form:
        raw = bytes(chance.choices(range(16), k=40 * BLOCK_BYTES[form] + 3))
        found.append(len(raw).to_bytes(2, "little") + encode_planes(raw, [Segment(form, len(raw), 4)]))
    mixed = [
        Segment(Form.Q4_0, 180),
        Segment(Form.WORDS_2, 64),
        Segment(Form.Q4_0, 18),
        Segment(Form.PLAIN, 5),
    ]
    raw = bytes(sum(segment.length_bytes for segment in mixed))
    return [*found, len(raw).to_bytes(2, "little") + encode_planes(raw, mixed)]


def read_stored_chunk(stored: bytes) -> None:
    """A stored chunk of a length and a digest that are known."""
    decode_chunk(stored, digest_of(bytes(1000)), 1000)


def chunk_seeds() -> list[bytes]:
    """Every codec."""
    raw = bytes(1000)
    return [encode_chunk(raw), encode_chunk(raw, [Segment(Form.WORDS_4, 1000, 10)]), b"\0" + raw]


def read_difference(data: bytes) -> None:
    """A byte that chooses what it differs from, then the difference."""
    before = bytes(range(256)) * (1 + data[0] % 8) if data else b""
    assert len(decode_difference(memoryview(data[1:]), before, "the chunk")) <= len(before)


def difference_seeds() -> list[bytes]:
    """Each form alone, and a mixture."""
    before = bytes(range(256)) * 4
    raw = bytes((byte + 1) % 256 for byte in before[:-9]) + before[-9:]
    found = [b"\3" + encode_difference(raw, before, [Segment(form, len(raw))], 3) for form in Form]
    mixed = [Segment(Form.Q5_0, 440), Segment(Form.Q6_K, 420), Segment(Form.PLAIN, 164)]
    return [*found, b"\3" + encode_difference(raw, before, mixed, 3)]


# Deltas


@cache
def _delta() -> bytes:
    base, new = _manifests()
    plains = [unpack_manifest(encode_manifest(manifest)) for manifest in (new, base)]
    coded = [Coded(Mode.PATCH, 2, encode_patch(NEW[2], BASE[2])), Coded(Mode.STORED, 0, encode_chunk(NEW[3]))]
    made = encode_delta(*plains, coded)
    assert made is not None
    return made


def read_delta(data: bytes) -> None:
    """A whole delta, as a fetch reads it."""
    base, new = _manifests()
    head = head_bytes(data)
    plains = [unpack_manifest(encode_manifest(manifest)) for manifest in (new, base)]
    _, index = decode_manifest_patch(data[:head], plains[1], digest_of(plains[0]))
    _read_entries(index, data, head)


def read_delta_index(data: bytes) -> None:
    """A byte of length, the index, and what follows it as bodies: no digest keeps strangers from it."""
    end = 1 + (data[0] if data else 0)
    _read_entries(data[1:end], data[end:], 0)


def _read_entries(index: bytes, bodies_: bytes, start: int) -> None:
    base, new = _manifests()
    for entry in decode_index(index, new, base, start):
        body = memoryview(bodies_)[entry.offset_bytes : entry.offset_bytes + entry.length_bytes]
        before = b"" if entry.mode == Mode.STORED else BASE[entry.against]
        _try_entry(entry, body, new.chunks[entry.chunk], before)


def _try_entry(entry: Entry, body: memoryview, chunk: ChunkRow, before: bytes) -> None:
    try:
        assert len(decode_entry(entry, body, chunk, before)) == chunk.raw_bytes
    except EdgewardError:
        return


def delta_seeds() -> list[bytes]:
    """One."""
    return [_delta()]


def delta_index_seeds() -> list[bytes]:
    """Entries of each mode."""
    patch, stored = encode_patch(NEW[2], BASE[2]), encode_chunk(NEW[3])
    difference = encode_difference(NEW[2], BASE[2], [Segment(Form.Q4_0, 490), Segment(Form.PLAIN, 10)], 3)
    found = []
    for mode, body in ((Mode.PATCH, patch), (Mode.DIFFERENCE, difference)):
        index = bytearray([mode, 4])
        put_varint(index, len(body))
        index += bytes([Mode.STORED, 5])
        put_varint(index, len(stored))
        found.append(bytes([len(index)]) + bytes(index) + body + stored)
    return found


# Model files


def model_reader(name: str) -> Callable[[bytes], None]:
    """Reads a model file of this name: its spans and its pieces cover it exactly."""

    def read(data: bytes) -> None:
        found = inspect_open(name, io.BytesIO(data), len(data))
        position = 0
        for span in found.spans:
            assert span.start_bytes == position
            assert span.end_bytes > position
            position = span.end_bytes
        assert position == len(data)
        extents = sorted(extent for piece in cut(found.spans) for extent in piece.extents)
        for extent in extents:
            assert extent.length_bytes > 0
        assert sum(extent.length_bytes for extent in extents) == len(data)
        for piece in cut(found.spans):
            length = sum(extent.length_bytes for extent in piece.extents)
            assert 0 < length <= PIECE_LIMIT_BYTES
            assert sum(segment.length_bytes for segment in piece.segments) == length
            raw = b"".join(data[start : start + size] for start, size in piece.extents)
            stored = encode_chunk(raw, piece.segments)
            assert decode_chunk(stored, digest_of(raw), len(raw)) == raw

    return read


def gguf_seeds() -> list[bytes]:
    """With and without tensors, of several types, nested arrays."""
    small = {"tokenizer.tokens": ["a", "b"]}
    q8 = {"blk.0.w": ((32, 4), 8, 136), "blk.1.w": ((32,), 0, 128), "out": ((256,), 12, 144)}
    nested = bytes([9, 0, 0, 0, 9, 0, 0, 0]) + (1).to_bytes(8, "little") + bytes([4, 0, 0, 0]) + bytes(8)
    return [
        makers.make_gguf(small, q8),
        makers.make_gguf(small, {}, alignment=64, version=2),
        makers.make_gguf({**small, "x.nested": nested}, {"t": ((4,), 99, 16)}),
    ]


def safetensors_seeds() -> list[bytes]:
    """A few tensors."""
    return [
        makers.make_safetensors({"w": ("F16", [8, 4], 64), "b": ("F32", [2], 8), "l.0.e": ("I8", [0], 0)})
    ]


def onnx_seeds() -> list[bytes]:
    """A small graph, and one with weights outside."""
    proto = makers.proto
    outside = proto(5, proto(13, proto(1, b"location") + proto(2, b"../weights.bin")) + proto(8, b"far"))
    return [makers.make_onnx(dims=(8, 4), extra=outside), makers.make_onnx(dims=(4, 4))]


TARGETS = {
    "trust": Target(foreign_trust.read_trust, foreign_trust.trust_seeds),
    "root": Target(foreign_trust.read_root, foreign_trust.root_seeds),
    "statements": Target(foreign_trust.read_statements, foreign_trust.statement_seeds),
    "manifest": Target(read_manifest, manifest_seeds),
    "manifest_map": Target(read_manifest_map, lambda: [unpack_manifest(seed) for seed in manifest_seeds()]),
    "planes": Target(read_planes, plane_seeds),
    "chunk": Target(read_stored_chunk, chunk_seeds),
    "difference": Target(read_difference, difference_seeds),
    "delta": Target(read_delta, delta_seeds),
    "delta_index": Target(read_delta_index, delta_index_seeds),
    "gguf": Target(model_reader("m.gguf"), gguf_seeds),
    "safetensors": Target(model_reader("m.safetensors"), safetensors_seeds),
    "onnx": Target(model_reader("m.onnx"), onnx_seeds),
    "frames": Target(foreign_messages.read_frames, foreign_messages.frame_seeds),
    "body": Target(foreign_messages.read_body, foreign_messages.body_seeds),
    "headers": Target(foreign_messages.read_headers, foreign_messages.header_seeds),
    "events": Target(foreign_messages.read_events, foreign_messages.event_seeds),
    "chunk_frames": Target(foreign_messages.read_chunk_frames, foreign_messages.chunk_frame_seeds),
    "answer": Target(foreign_messages.read_answer, foreign_messages.answer_seeds),
    "tensors": Target(foreign_messages.read_tensors, foreign_messages.tensor_seeds),
}


def check(name: str, data: bytes) -> bool:
    """Whether a target took these bytes; raises what it should never raise."""
    try:
        TARGETS[name].read(data)
    except EdgewardError:
        return False
    return True
