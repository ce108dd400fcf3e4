"""Small real model files, built byte by byte, and a store to publish them to."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable

import pytest

from registry.trust.in_memory import signed_in_memory

GgufMaker = Callable[..., bytes]


def _text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _gguf_value(value: object) -> bytes:
    if isinstance(value, bytes):  # already packed, type first
        return value
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(_text(item) for item in value)
    assert isinstance(value, int)
    return struct.pack("<II", 4, value)


def make_gguf(
    fields: dict[str, object] | None = None,
    tensors: dict[str, tuple[tuple[int, ...], int, int]] | None = None,
    *,
    seed: int = 1,
    template: str = "{{ messages }}",
    alignment: int = 32,
    version: int = 3,
) -> bytes:
    """A GGUF file; a tensor is (dimensions, type id, bytes)."""
    head = {
        "general.architecture": "llama",
        "general.file_type": 1,
        "llama.context_length": 2048,
        "tokenizer.tokens": [f"token{number}" for number in range(12_000)],
        "tokenizer.chat_template": template,
    }
    if alignment != 32:
        head["general.alignment"] = alignment
    head.update(fields or {})
    if tensors is None:
        # Q8_0: a row of 576 numbers is 612 bytes; F32: 4 bytes a number.
        tensors = {
            "token_embd.weight": ((576, 8000), 8, 612 * 8000),
            "blk.0.norm": ((576,), 0, 576 * 4),
            "blk.0.bias": ((100,), 0, 400),
            "blk.0.ffn": ((576, 200), 8, 612 * 200),
        }
    chance = random.Random(seed)
    infos, data = b"", b""
    for name, (dimensions, type_id, length) in tensors.items():
        data += bytes(-len(data) % alignment)
        infos += _text(name) + struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
        infos += struct.pack("<IQ", type_id, len(data))
        data += chance.randbytes(length)
    packed = b"".join(_text(key) + _gguf_value(value) for key, value in head.items())
    header = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(head)) + packed + infos
    return header + bytes(-len(header) % alignment) + data


def make_safetensors(tensors: dict[str, tuple[str, list[int], int]] | None = None, *, seed: int = 1) -> bytes:
    """A safetensors file; a tensor is (dtype, shape, bytes)."""
    tensors = tensors or {"w": ("F16", [512, 256], 512 * 256 * 2), "b": ("F32", [16], 64)}
    table: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, (dtype, shape, length) in tensors.items():
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + length]}
        end += length
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + random.Random(seed).randbytes(end)


def varint(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def proto(number: int, value: int | bytes) -> bytes:
    """One protobuf field."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def make_onnx(
    *, seed: int = 1, dims: tuple[int, ...] = (512, 256), length: int | None = None, extra: bytes = b""
) -> bytes:
    """An ONNX model with one large and one small weight and a node."""
    chance = random.Random(seed)
    large = b"".join(proto(1, dim) for dim in dims) + proto(2, 3) + proto(8, b"large")
    large += proto(9, chance.randbytes(dims[0] * dims[1] if length is None else length))
    small = proto(1, varint(4)) + proto(2, 1) + proto(8, b"small") + proto(9, chance.randbytes(16))
    graph = (
        proto(1, proto(4, b"MatMul")) + proto(2, b"main_graph") + proto(5, large) + proto(5, small) + extra
    )
    return (
        proto(1, 8)
        + proto(2, b"pytorch")
        + proto(7, graph)
        + proto(14, proto(1, b"model_type") + proto(2, b"bert"))
    )


@pytest.fixture
def gguf_bytes() -> GgufMaker:
    """Builds a GGUF file."""
    return make_gguf


@pytest.fixture
def safetensors_bytes() -> Callable[..., bytes]:
    """Builds a safetensors file."""
    return make_safetensors


@pytest.fixture
def onnx_bytes() -> Callable[..., bytes]:
    """Builds an ONNX file."""
    return make_onnx


@pytest.fixture
def protobuf_field() -> Callable[[int, int | bytes], bytes]:
    """Builds one protobuf field."""
    return proto


@pytest.fixture
def store():
    """An empty store, with keys to sign for names without a namespace and for `team/`."""
    return signed_in_memory()
