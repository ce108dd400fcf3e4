"""A manifest's bytes: `EAF1`, then one zstd frame around msgpack with columns. README.md has the table.

A manifest is named by the digest of what is packed, so it may be packed anew, or made out of another one and a patch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import zstandard
from msgspec import Meta, Struct

from registry import wire
from registry.columns import pack_numbers, unpack_digests, unpack_numbers
from registry.digest import DIGEST_BYTES, Digest, digest_of
from registry.errors import ChunkMismatchError, InputInvalidError, ManifestInvalidError, UnpackLimitError
from registry.formats import FileKind
from registry.manifest.checks import FILE_LIMIT_COUNT, check_counts, check_manifest
from registry.manifest.contents import Chunk, Manifest, Needs, Pack, Piece, ReleaseFile, Variant
from registry.manifest.lineage import LINEAGE_LIMIT_BYTES
from registry.manifest.placing import Frontiers, place_extents
from registry.packing import unpack_zstd
from registry.varint import unzigzag, zigzag

if TYPE_CHECKING:
    from collections.abc import Iterable

MAGIC = b"EAF1"
SCHEMA = 2
MANIFEST_LIMIT_BYTES = 64 * 1024 * 1024
UNPACKED_LIMIT_BYTES = 128 * 1024 * 1024
_LEVEL = 19
_ENDLESS = bytes(range(0x80, 0x100))
"""The bytes of a varint that are not its last."""

_Label = Annotated[str, Meta(max_length=256)]
_Count = Annotated[int, Meta(ge=0, le=(1 << 62))]


class _FileRecord(Struct, frozen=True):
    path: str
    size: _Count
    sha256: Annotated[bytes, Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]


class _NeedsRecord(Struct, frozen=True, kw_only=True):
    engine: _Label
    memory: _Count
    context: _Count
    token: _Count
    features: Annotated[tuple[_Label, ...], Meta(max_length=256)]


class _VariantRecord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: _Label
    kind: FileKind
    architecture: _Label
    quantization: _Label
    context_tokens: _Count
    parameter_count: _Count
    abilities: Annotated[tuple[_Label, ...], Meta(max_length=256)]
    # These came later; readers before passed them over.
    needs: _NeedsRecord | None = None
    space: _Label = ""
    lineage: Annotated[bytes, Meta(max_length=LINEAGE_LIMIT_BYTES)] = b""
    files: Annotated[tuple[_FileRecord, ...], Meta(max_length=FILE_LIMIT_COUNT)]


class _PackColumns(Struct, frozen=True, kw_only=True):
    digest: bytes
    length: bytes


class _ChunkColumns(Struct, frozen=True, kw_only=True):
    digest: bytes
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
    variants: Annotated[tuple[_VariantRecord, ...], Meta(max_length=256)]
    packs: _PackColumns
    chunks: _ChunkColumns
    pieces: _PieceColumns
    extents: _ExtentColumns


def encode_manifest(manifest: Manifest) -> bytes:
    """The stored bytes of a manifest: the same for the same manifest.

    Raises:
        ManifestInvalidError: it breaks a rule that readers check.
    """
    check_manifest(manifest)
    chunks, pieces = manifest.chunks, manifest.pieces
    frontiers = Frontiers(len(manifest.files))
    record = _Record(
        schema=SCHEMA,
        name=manifest.name,
        version=manifest.version,
        created_unix_s=manifest.created_unix_s,
        license=manifest.license_name,
        variants=tuple(map(_variant_record, manifest.variants)),
        packs=_PackColumns(
            digest=bytes.fromhex("".join(pack.digest for pack in manifest.packs)),
            length=pack_numbers(pack.length_bytes for pack in manifest.packs),
        ),
        chunks=_ChunkColumns(
            digest=bytes.fromhex("".join(chunk.digest for chunk in chunks)),
            pack=_pack_steps(chunk.pack for chunk in chunks),
            gap=pack_numbers(_gaps(chunks)),
            stored=pack_numbers(chunk.stored_bytes for chunk in chunks),
        ),
        pieces=_PieceColumns(
            chunk=pack_numbers(
                zigzag(piece.chunk - expected)
                for piece, expected in zip(pieces, _fresh(piece.chunk for piece in pieces), strict=False)
            ),
            file=_pack_steps(piece.file for piece in pieces),
            extents=pack_numbers(len(piece.extents) for piece in pieces),
        ),
        extents=_ExtentColumns(
            gap=pack_numbers(
                zigzag(gap) for piece in pieces for gap in frontiers.gaps(piece.file, piece.extents)
            ),
            length=pack_numbers(extent.length_bytes for piece in pieces for extent in piece.extents),
        ),
    )
    return pack_manifest(wire.to_msgpack(record), record.chunks.digest)


def pack_manifest(plain: bytes, digests: bytes = b"") -> bytes:
    """The stored bytes of an unpacked manifest; `digests`, if it is in there, gets a block of its own."""
    begin = max(0, plain.find(digests))
    packer = zstandard.ZstdCompressor(level=_LEVEL).compressobj(size=len(plain))
    packed = bytearray(MAGIC)
    # Noise and small numbers would share one table of codes, and neither would gain from it.
    for part in (plain[:begin], plain[begin : begin + len(digests)]):
        if part:
            packed += packer.compress(part) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
    return bytes(packed + packer.compress(plain[begin + len(digests) :]) + packer.flush())


def unpack_manifest(data: bytes) -> bytes:
    """What the stored bytes of a manifest hold, before it is read.

    Raises:
        ManifestInvalidError: not a manifest, or one over the limits.
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
        return unpack_zstd(memoryview(data)[len(MAGIC) :], UNPACKED_LIMIT_BYTES, "the manifest")
    except (ChunkMismatchError, UnpackLimitError) as error:
        raise ManifestInvalidError(f"the manifest cannot be read: {error.message}") from error


def stored_limit_bytes(plain_bytes: int) -> int:
    """The most that the stored form of an unpacked manifest of this length can take, whatever is in it."""
    # Bytes that do not compress are kept as they are, in blocks with a few bytes of header each.
    return plain_bytes + plain_bytes // 256 + 512


def manifest_digest(data: bytes) -> Digest:
    """The digest that names a manifest: of its unpacked bytes.

    Raises:
        ManifestInvalidError: as `unpack_manifest`.
    """
    return digest_of(unpack_manifest(data))


def decode_manifest(data: bytes) -> Manifest:
    """The manifest that these stored bytes hold, checked wholly.

    Raises:
        ManifestInvalidError: not a manifest, of a schema that is not read here, or one that breaks a rule.
    """
    plain = unpack_manifest(data)
    try:
        schema = wire.from_msgpack(plain, _Start).schema
        if schema != SCHEMA:
            raise ManifestInvalidError(
                f"the manifest has schema {schema}, and this Edgeward reads {SCHEMA}; update Edgeward"
            )
        record = wire.from_msgpack(plain, _Record)
    except InputInvalidError as error:
        raise ManifestInvalidError(f"the manifest cannot be read: {error.message}") from error
    manifest = _manifest(record)
    check_manifest(manifest)
    return manifest


def _variant_record(variant: Variant) -> _VariantRecord:
    needs = variant.needs
    return _VariantRecord(
        name=variant.name,
        kind=variant.kind,
        architecture=variant.architecture,
        quantization=variant.quantization,
        context_tokens=variant.context_tokens,
        parameter_count=variant.parameter_count,
        abilities=variant.abilities,
        needs=None
        if needs is None
        else _NeedsRecord(
            engine=needs.engine,
            memory=needs.memory_bytes,
            context=needs.context_tokens,
            token=needs.token_bytes,
            features=needs.features,
        ),
        space=variant.space_id,
        lineage=variant.lineage,
        files=tuple(
            _FileRecord(file.path, file.size_bytes, bytes.fromhex(file.sha256)) for file in variant.files
        ),
    )


def _variant(record: _VariantRecord) -> Variant:
    needs = record.needs
    return Variant(
        name=record.name,
        kind=record.kind,
        architecture=record.architecture,
        quantization=record.quantization,
        context_tokens=record.context_tokens,
        parameter_count=record.parameter_count,
        abilities=record.abilities,
        needs=None
        if needs is None
        else Needs(
            engine=needs.engine,
            memory_bytes=needs.memory,
            context_tokens=needs.context,
            token_bytes=needs.token,
            features=needs.features,
        ),
        space_id=record.space,
        lineage=record.lineage,
        files=tuple(ReleaseFile(file.path, file.size, Digest(file.sha256.hex())) for file in record.files),
    )


def _manifest(record: _Record) -> Manifest:
    variants = tuple(map(_variant, record.variants))
    pieces = _pieces(record, sum(len(variant.files) for variant in variants))
    return Manifest(
        name=record.name,
        version=record.version,
        created_unix_s=record.created_unix_s,
        license_name=record.license,
        variants=variants,
        packs=_packs(record.packs),
        chunks=_chunks(record.chunks, pieces),
        pieces=pieces,
    )


def _packs(columns: _PackColumns) -> tuple[Pack, ...]:
    digests = unpack_digests(columns.digest, DIGEST_BYTES, "packs.digest")
    lengths = unpack_numbers(columns.length, len(digests), "packs.length")
    return tuple(Pack(Digest(digest), length) for digest, length in zip(digests, lengths, strict=True))


def _chunks(columns: _ChunkColumns, pieces: tuple[Piece, ...]) -> tuple[Chunk, ...]:
    digests = unpack_digests(columns.digest, DIGEST_BYTES, "chunks.digest")
    count = len(digests)
    raw_bytes = [0] * count
    for piece in pieces:
        if 0 <= piece.chunk < count:
            raw_bytes[piece.chunk] = sum(extent.length_bytes for extent in piece.extents)
    chunks = []
    ends: dict[int, int] = {}
    for digest, raw, pack, gap, stored in zip(
        digests,
        raw_bytes,
        _unpack_steps(columns.pack, count, "chunks.pack"),
        unpack_numbers(columns.gap, count, "chunks.gap"),
        unpack_numbers(columns.stored, count, "chunks.stored"),
        strict=True,
    ):
        offset = ends.get(pack, 0) + unzigzag(gap)
        ends[pack] = offset + stored
        chunks.append(Chunk(Digest(digest), raw, pack, offset, stored))
    return tuple(chunks)


def _pieces(record: _Record, files_count: int) -> tuple[Piece, ...]:
    columns, extents = record.pieces, record.extents
    check_counts(_numbers_count(columns.file), _numbers_count(extents.length))
    # A piece has an extent, and that has a length: counts cannot be larger than the columns that hold them.
    files = _unpack_steps(columns.file, _numbers_count(columns.file), "pieces.file")
    count = len(files)
    counts = unpack_numbers(columns.extents, count, "pieces.extents")
    lengths = unpack_numbers(extents.length, sum(counts), "extents.length")
    gaps = unpack_numbers(extents.gap, len(lengths), "extents.gap")
    places = place_extents(files, counts, map(unzigzag, gaps), lengths, files_count)
    steps = unpack_numbers(columns.chunk, count, "pieces.chunk")
    pieces = []
    fresh = 0
    for step, file, stretches in zip(steps, files, places, strict=True):
        chunk = fresh + unzigzag(step)
        fresh = max(fresh, chunk + 1)
        pieces.append(Piece(chunk, file, stretches))
    return tuple(pieces)


def _fresh(numbers: Iterable[int]) -> Iterable[int]:
    """Before each number, the first that has not been seen: what comes next when nothing is repeated."""
    fresh = 0
    for number in numbers:
        yield fresh
        fresh = max(fresh, number + 1)


def _gaps(chunks: Iterable[Chunk]) -> Iterable[int]:
    """How far each chunk starts after the end of the one before it in its pack: almost always 0."""
    ends: dict[int, int] = {}
    for chunk in chunks:
        yield zigzag(chunk.offset_bytes - ends.get(chunk.pack, 0))
        ends[chunk.pack] = chunk.offset_bytes + chunk.stored_bytes


def _pack_steps(numbers: Iterable[int]) -> bytes:
    """A column of numbers that mostly stay the same."""
    before = 0
    steps = []
    for number in numbers:
        steps.append(zigzag(number - before))
        before = number
    return pack_numbers(steps)


def _unpack_steps(column: bytes, count: int, what: str) -> list[int]:
    numbers, number = [], 0
    for step in unpack_numbers(column, count, what):
        number += unzigzag(step)
        numbers.append(number)
    return numbers


def _numbers_count(column: bytes) -> int:
    """How many numbers a column has: each ends with a byte below 128."""
    return len(column.translate(None, _ENDLESS))
