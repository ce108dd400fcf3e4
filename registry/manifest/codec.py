"""A manifest's bytes: `EAF1`, then one zstd frame around msgpack with columns. README.md has the table."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Annotated

import zstandard
from msgspec import Meta, Struct

from registry import wire
from registry.chunking import Extent
from registry.columns import pack_i64, pack_u32, unpack_digests, unpack_i64, unpack_u32
from registry.digest import DIGEST_BYTES, Digest
from registry.errors import ChunkMismatchError, InputInvalidError, ManifestInvalidError, UnpackLimitError
from registry.formats import FileKind
from registry.manifest.checks import check_manifest
from registry.manifest.contents import Chunk, Manifest, Pack, Piece, ReleaseFile, Variant
from registry.packing import unpack_zstd

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MAGIC = b"EAF1"
SCHEMA = 1
MANIFEST_LIMIT_BYTES = 64 * 1024 * 1024
_UNPACKED_LIMIT_BYTES = 512 * 1024 * 1024
_LEVEL = 19

_Label = Annotated[str, Meta(max_length=256)]
_Count = Annotated[int, Meta(ge=0, le=(1 << 62))]


class _FileRecord(Struct, frozen=True):
    path: str
    size: _Count
    sha256: Annotated[bytes, Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]


class _VariantRecord(Struct, frozen=True, kw_only=True):
    name: _Label
    kind: FileKind
    architecture: _Label
    quantization: _Label
    context_tokens: _Count
    parameter_count: _Count
    abilities: tuple[_Label, ...]
    files: tuple[_FileRecord, ...]


class _PackColumns(Struct, frozen=True, kw_only=True):
    digest: bytes
    length: bytes


class _ChunkColumns(Struct, frozen=True, kw_only=True):
    digest: bytes
    raw: bytes
    pack: bytes
    gap: bytes
    stored: bytes


class _PieceColumns(Struct, frozen=True, kw_only=True):
    chunk: bytes
    file: bytes
    extents: bytes


class _ExtentColumns(Struct, frozen=True, kw_only=True):
    gap: bytes
    length: bytes


class _Start(Struct, frozen=True):
    schema: int


class _Record(Struct, frozen=True, kw_only=True):
    schema: int
    name: str
    version: str
    created_unix_s: _Count
    license: _Label
    variants: tuple[_VariantRecord, ...]
    packs: _PackColumns
    chunks: _ChunkColumns
    pieces: _PieceColumns
    extents: _ExtentColumns


def encode_manifest(manifest: Manifest) -> bytes:
    """The bytes of a manifest: the same for the same manifest.

    Raises:
        ManifestInvalidError: it breaks a rule that readers check.
    """
    check_manifest(manifest)
    chunks, pieces = manifest.chunks, manifest.pieces
    record = _Record(
        schema=SCHEMA,
        name=manifest.name,
        version=manifest.version,
        created_unix_s=manifest.created_unix_s,
        license=manifest.license_name,
        variants=tuple(map(_variant_record, manifest.variants)),
        packs=_PackColumns(
            digest=bytes.fromhex("".join(pack.digest for pack in manifest.packs)),
            length=pack_u32(pack.length_bytes for pack in manifest.packs),
        ),
        chunks=_ChunkColumns(
            digest=bytes.fromhex("".join(chunk.digest for chunk in chunks)),
            raw=pack_u32(chunk.raw_bytes for chunk in chunks),
            pack=pack_u32(chunk.pack for chunk in chunks),
            gap=pack_i64(_gaps((chunk.offset_bytes, chunk.stored_bytes) for chunk in chunks)),
            stored=pack_u32(chunk.stored_bytes for chunk in chunks),
        ),
        pieces=_PieceColumns(
            chunk=pack_u32(piece.chunk for piece in pieces),
            file=pack_u32(piece.file for piece in pieces),
            extents=pack_u32(len(piece.extents) for piece in pieces),
        ),
        extents=_ExtentColumns(
            gap=pack_i64(_gaps(extent for piece in pieces for extent in piece.extents)),
            length=pack_u32(extent.length_bytes for piece in pieces for extent in piece.extents),
        ),
    )
    return MAGIC + zstandard.ZstdCompressor(level=_LEVEL).compress(wire.to_msgpack(record))


def decode_manifest(data: bytes) -> Manifest:
    """The manifest that these bytes hold, checked wholly.

    Raises:
        ManifestInvalidError: not a manifest, of a schema that is not read here, or one that breaks a rule.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise ManifestInvalidError(
            f"not a manifest of a release: it starts with {data[:4]!r} instead of {MAGIC!r}"
        )
    if len(data) > MANIFEST_LIMIT_BYTES:
        raise ManifestInvalidError(
            f"a manifest of {len(data)} bytes is over the limit of {MANIFEST_LIMIT_BYTES}"
        )
    try:
        plain = unpack_zstd(memoryview(data)[len(MAGIC) :], _UNPACKED_LIMIT_BYTES, "the manifest")
        schema = wire.from_msgpack(plain, _Start).schema
        if schema != SCHEMA:
            raise ManifestInvalidError(
                f"the manifest has schema {schema}, and this Edgeward reads {SCHEMA}; update Edgeward"
            )
        record = wire.from_msgpack(plain, _Record)
    except (ChunkMismatchError, UnpackLimitError, InputInvalidError) as error:
        raise ManifestInvalidError(f"the manifest cannot be read: {error.message}") from error
    manifest = _manifest(record)
    check_manifest(manifest)
    return manifest


def _variant_record(variant: Variant) -> _VariantRecord:
    return _VariantRecord(
        name=variant.name,
        kind=variant.kind,
        architecture=variant.architecture,
        quantization=variant.quantization,
        context_tokens=variant.context_tokens,
        parameter_count=variant.parameter_count,
        abilities=variant.abilities,
        files=tuple(
            _FileRecord(file.path, file.size_bytes, bytes.fromhex(file.sha256)) for file in variant.files
        ),
    )


def _variant(record: _VariantRecord) -> Variant:
    return Variant(
        name=record.name,
        kind=record.kind,
        architecture=record.architecture,
        quantization=record.quantization,
        context_tokens=record.context_tokens,
        parameter_count=record.parameter_count,
        abilities=record.abilities,
        files=tuple(ReleaseFile(file.path, file.size, Digest(file.sha256.hex())) for file in record.files),
    )


def _manifest(record: _Record) -> Manifest:
    return Manifest(
        name=record.name,
        version=record.version,
        created_unix_s=record.created_unix_s,
        license_name=record.license,
        variants=tuple(map(_variant, record.variants)),
        packs=_packs(record.packs),
        chunks=_chunks(record.chunks),
        pieces=_pieces(record.pieces, record.extents),
    )


def _packs(columns: _PackColumns) -> tuple[Pack, ...]:
    digests = unpack_digests(columns.digest, DIGEST_BYTES, "packs.digest")
    lengths = unpack_u32(columns.length, len(digests), "packs.length")
    return tuple(Pack(Digest(digest), length) for digest, length in zip(digests, lengths, strict=True))


def _chunks(columns: _ChunkColumns) -> tuple[Chunk, ...]:
    digests = unpack_digests(columns.digest, DIGEST_BYTES, "chunks.digest")
    count = len(digests)
    stored = unpack_u32(columns.stored, count, "chunks.stored")
    rows = zip(
        digests,
        unpack_u32(columns.raw, count, "chunks.raw"),
        unpack_u32(columns.pack, count, "chunks.pack"),
        _offsets(unpack_i64(columns.gap, count, "chunks.gap"), stored),
        stored,
        strict=True,
    )
    return tuple(Chunk(Digest(digest), *numbers) for digest, *numbers in rows)


def _pieces(columns: _PieceColumns, extents: _ExtentColumns) -> tuple[Piece, ...]:
    count = len(columns.chunk) // 4
    counts = unpack_u32(columns.extents, count, "pieces.extents")
    ends = list(accumulate(counts))
    lengths = unpack_u32(extents.length, ends[-1] if ends else 0, "extents.length")
    offsets = _offsets(unpack_i64(extents.gap, len(lengths), "extents.gap"), lengths)
    stretches = [Extent(offset, length) for offset, length in zip(offsets, lengths, strict=True)]
    rows = zip(
        unpack_u32(columns.chunk, count, "pieces.chunk"),
        unpack_u32(columns.file, count, "pieces.file"),
        ends,
        counts,
        strict=True,
    )
    return tuple(
        Piece(chunk, file, tuple(stretches[end - length : end])) for chunk, file, end, length in rows
    )


def _gaps(stretches: Iterator[tuple[int, int]]) -> Iterator[int]:
    """How far each stretch starts after the end of the one before: mostly 0, which compresses to nothing."""
    end = 0
    for offset, length in stretches:
        yield offset - end
        end = offset + length


def _offsets(gaps: Sequence[int], lengths: Sequence[int]) -> list[int]:
    """The inverse of `_gaps`."""
    ends = list(accumulate(gap + length for gap, length in zip(gaps, lengths, strict=True)))
    return [end - length for end, length in zip(ends, lengths, strict=True)]
