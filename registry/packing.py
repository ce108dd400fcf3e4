"""One chunk to its stored bytes and back, within limits; and chunks gathered into a pack.

Stored bytes are one byte that names the codec, then what the codec made. Codec 2 is in `plane_coding`.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from importlib import import_module
from typing import TYPE_CHECKING

import zstandard

from registry.digest import Digest, digest_of
from registry.element_forms import Form
from registry.errors import ChunkMismatchError, ConfigError, UnpackLimitError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType

    from registry.chunking import Segment

PACK_LIMIT_BYTES = 64 * 1024 * 1024
CHUNK_LIMIT_BYTES = 16 * 1024 * 1024
"""No chunk is longer, raw; readers refuse it. What this version writes is at most 4 MiB."""

_LEVEL = 3  # on weights all gain is entropy coding, at any level
_THOROUGH_LEVEL = 19  # for vocabularies and lists of tensors, which repeat themselves
_WORTH_KEEPING = 0.97


class Codec(IntEnum):
    """How the bytes of a stored chunk were made. Numbers are for ever."""

    RAW = 0
    ZSTD = 1
    PLANES = 2


def encode_chunk(raw: bytes, segments: Sequence[Segment] = ()) -> bytes:
    """The stored bytes of a chunk: compressed only if that saves at least 3 %.

    Args:
        raw: its bytes.
        segments: what they are, one stretch after another; nothing means unknown, and then no time is spent on it.
    """
    if any(segment.form != Form.PLAIN for segment in segments):
        return b"".join(
            (bytes((Codec.PLANES,)), *load_plane_module("plane_coding").plane_parts(raw, segments))
        )
    packed = zstandard.ZstdCompressor(level=_LEVEL).compress(raw)
    if segments and len(packed) < _WORTH_KEEPING * len(raw):
        packed = zstandard.ZstdCompressor(level=_THOROUGH_LEVEL).compress(raw)
    if len(packed) < _WORTH_KEEPING * len(raw):
        return bytes((Codec.ZSTD,)) + packed
    return bytes((Codec.RAW,)) + raw


def decode_chunk(stored: bytes | memoryview, digest: Digest, raw_bytes: int) -> bytes | memoryview:
    """The raw bytes of a chunk, checked against its name.

    Args:
        stored: what a pack holds for it.
        digest: of the raw bytes.
        raw_bytes: their declared length; no more memory than that is used for them.

    Raises:
        UnpackLimitError: they would unpack to another length than declared.
        ChunkMismatchError: they are damaged, or of a codec that is not known here.
    """
    if not stored:
        raise ChunkMismatchError(f"chunk {digest[:12]} is empty in its pack")
    codec, payload = stored[0], memoryview(stored)[1:]
    if codec == Codec.RAW:
        if len(payload) != raw_bytes:
            raise UnpackLimitError(f"chunk {digest[:12]} holds {len(payload)} bytes instead of {raw_bytes}")
        raw: bytes | memoryview = payload
    elif codec == Codec.ZSTD:
        raw = unpack_zstd(payload, raw_bytes, f"chunk {digest[:12]}", exact=True)
    elif codec == Codec.PLANES:
        raw = load_plane_module("plane_coding").decode_planes(payload, raw_bytes, f"chunk {digest[:12]}")
    else:
        raise ChunkMismatchError(
            f"chunk {digest[:12]} uses codec {codec}, unknown here; update Edgeward or refetch"
        )
    if digest_of(raw) != digest:
        raise ChunkMismatchError(f"chunk {digest[:12]} does not have the bytes that its name says")
    return raw


def load_plane_module(name: str) -> ModuleType:
    """A module that takes numbers apart; it needs numpy, which a light client may be without until it pulls."""
    try:
        return import_module(f"registry.{name}")
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the chunks of a model need {error.name}: pip install 'edgeward[origin]' or {error.name} alone"
        ) from error


def unpack_zstd(packed: bytes | memoryview, limit_bytes: int, what: str, *, exact: bool = False) -> bytes:
    """The content of one zstd frame that declares its length.

    Raises:
        UnpackLimitError: the frame declares no length, one above the limit, or (`exact`) another one.
        ChunkMismatchError: not one whole zstd frame.
    """
    try:
        declared = zstandard.frame_content_size(packed)
        if not 0 <= declared <= limit_bytes or (exact and declared != limit_bytes):
            raise UnpackLimitError(
                f"{what} would unpack to {declared if declared >= 0 else 'an unknown number of'} bytes; "
                f"{limit_bytes} {'were declared' if exact else 'is the most'}"
            )
        content = zstandard.ZstdDecompressor().decompress(
            packed, max_output_size=limit_bytes, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise ChunkMismatchError(f"{what} is damaged: {error}") from error
    if len(content) != declared:
        raise ChunkMismatchError(
            f"{what} is damaged: it unpacks to {len(content)} bytes instead of {declared}"
        )
    return content


class PackBuilder:
    """Stored chunks, one after another, until the pack is full; hashed as they come, and never copied again."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._hash = hashlib.sha256()

    def __len__(self) -> int:
        """How many bytes the pack has so far."""
        return len(self._bytes)

    def fits(self, stored: bytes) -> bool:
        """Whether these bytes still go in; into an empty pack any chunk goes."""
        return not self._bytes or len(self._bytes) + len(stored) <= PACK_LIMIT_BYTES

    def add(self, stored: bytes) -> int:
        """Append a stored chunk; returns its offset in the pack."""
        offset = len(self._bytes)
        self._bytes += stored
        self._hash.update(stored)
        return offset

    def build(self) -> tuple[Digest, bytearray]:
        """The pack and the digest that names it; nothing is added after that."""
        return Digest(self._hash.hexdigest()), self._bytes
