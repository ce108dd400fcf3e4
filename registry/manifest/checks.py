"""What every manifest must fulfil: safe paths, exact coverage, valid references, bounded sizes."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

from registry.digest import parse_digest
from registry.errors import InputInvalidError, ManifestInvalidError
from registry.packing import CHUNK_LIMIT_BYTES, PACK_LIMIT_BYTES
from registry.reference import check_name, check_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.chunking import Extent
    from registry.manifest.contents import Manifest, ReleaseFile

FILE_LIMIT_COUNT = 100_000
PIECE_LIMIT_COUNT = 1 << 20
EXTENT_LIMIT_COUNT = 1 << 21
"""Enough for 4 TiB. Columns of equal numbers compress to nothing, and each row takes hundreds of bytes in memory."""
TOTAL_LIMIT_BYTES = 1 << 50
_PATH_LIMIT_BYTES = 1024
_PART_LIMIT_BYTES = 255
_STORED_LIMIT_BYTES = CHUNK_LIMIT_BYTES + 1  # the codec's byte


def check_manifest(manifest: Manifest) -> None:
    """Refuse a manifest that contradicts itself or the limits.

    Raises:
        ManifestInvalidError: it does; the message says where.
    """
    try:
        check_name(manifest.name)
        check_version(manifest.version)
        for digest in (*(pack.digest for pack in manifest.packs), *(file.sha256 for file in manifest.files)):
            parse_digest(digest)
    except InputInvalidError as error:
        raise ManifestInvalidError(f"the manifest is invalid: {error.message}") from error
    if not manifest.variants or len({variant.name for variant in manifest.variants}) < len(manifest.variants):
        raise ManifestInvalidError("the manifest has no variant, or two of one name")
    check_paths([file.path for file in manifest.files])
    check_counts(len(manifest.pieces), sum(len(piece.extents) for piece in manifest.pieces))
    _check_sizes(manifest.files)
    _check_packs(manifest)
    _check_chunks(manifest)
    _check_coverage(manifest)


def check_counts(pieces_count: int, extents_count: int) -> None:
    """Refuse more pieces or extents than a release may have.

    Raises:
        ManifestInvalidError: there are.
    """
    if pieces_count > PIECE_LIMIT_COUNT or extents_count > EXTENT_LIMIT_COUNT:
        raise ManifestInvalidError(
            f"a release has at most {PIECE_LIMIT_COUNT} pieces and {EXTENT_LIMIT_COUNT} extents, "
            f"not {pieces_count} and {extents_count}"
        )


def check_paths(paths: Sequence[str]) -> None:
    """Refuse paths that could leave their directory or mean one another on some system.

    Raises:
        ManifestInvalidError: such a path, none at all, or too many.
    """
    if not 0 < len(paths) <= FILE_LIMIT_COUNT:
        raise ManifestInvalidError(f"a release has 1 to {FILE_LIMIT_COUNT} files, not {len(paths)}")
    seen: dict[str, str] = {}
    folders: set[str] = set()
    for path in paths:
        _check_path(path)
        folded = _folded(path)
        if folded in seen:
            raise ManifestInvalidError(
                f"the paths {seen[folded]!r} and {path!r} are the same file on some systems; rename one"
            )
        seen[folded] = path
        parts = folded.split("/")
        folders.update("/".join(parts[:depth]) for depth in range(1, len(parts)))
    for folder in folders & seen.keys():
        raise ManifestInvalidError(f"the path {seen[folder]!r} is both a file and a folder")


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


def _check_path(path: str) -> None:
    parts = path.split("/")
    try:
        encoded = [part.encode() for part in parts]
    except UnicodeEncodeError as error:
        raise ManifestInvalidError(f"the path {path[:80]!r} is not valid Unicode; rename the file") from error
    unsafe = (
        any(part in {"", ".", ".."} for part in parts)
        or "\\" in path
        or any(ord(character) < 32 or ord(character) == 127 for character in path)
        or (len(parts[0]) == 2 and parts[0][1] == ":")
    )
    if unsafe:
        raise ManifestInvalidError(
            f"the path {path[:80]!r} is not safe: use a relative one without '..', backslashes and control characters"
        )
    if sum(map(len, encoded)) > _PATH_LIMIT_BYTES or max(map(len, encoded)) > _PART_LIMIT_BYTES:
        raise ManifestInvalidError(f"the path {path[:80]!r}… is too long")


def _check_sizes(files: Sequence[ReleaseFile]) -> None:
    if (
        any(file.size_bytes < 0 for file in files)
        or sum(file.size_bytes for file in files) > TOTAL_LIMIT_BYTES
    ):
        raise ManifestInvalidError(
            f"a file's size is negative, or all are over {TOTAL_LIMIT_BYTES} bytes together"
        )


def _check_packs(manifest: Manifest) -> None:
    if len({pack.digest for pack in manifest.packs}) < len(manifest.packs):
        raise ManifestInvalidError("a pack is listed twice")
    for pack in manifest.packs:
        if not 0 < pack.length_bytes <= PACK_LIMIT_BYTES:
            raise ManifestInvalidError(
                f"pack {pack.digest[:12]} has the impossible length {pack.length_bytes}"
            )
    if {chunk.pack for chunk in manifest.chunks} != set(range(len(manifest.packs))):
        raise ManifestInvalidError(
            "a chunk names a pack that is not listed, or a pack is listed for no chunk"
        )


def _check_chunks(manifest: Manifest) -> None:
    if len({chunk.digest for chunk in manifest.chunks}) < len(manifest.chunks):
        raise ManifestInvalidError("a chunk is listed twice")
    for chunk in manifest.chunks:
        if not 0 < chunk.raw_bytes <= CHUNK_LIMIT_BYTES or not 0 < chunk.stored_bytes <= _STORED_LIMIT_BYTES:
            raise ManifestInvalidError(f"chunk {chunk.digest[:12]} has an impossible length")
        end = chunk.offset_bytes + chunk.stored_bytes
        if chunk.offset_bytes < 0 or end > manifest.packs[chunk.pack].length_bytes:
            raise ManifestInvalidError(f"chunk {chunk.digest[:12]} lies outside its pack")


def _check_coverage(manifest: Manifest) -> None:
    used = bytearray(len(manifest.chunks))
    by_file: list[list[Extent]] = [[] for _ in manifest.files]
    for number, piece in enumerate(manifest.pieces):
        if not 0 <= piece.chunk < len(used) or not 0 <= piece.file < len(by_file):
            raise ManifestInvalidError(f"piece {number} names a chunk or a file that is not listed")
        used[piece.chunk] = 1
        if sum(extent.length_bytes for extent in piece.extents) != manifest.chunks[piece.chunk].raw_bytes:
            raise ManifestInvalidError(f"piece {number} is not as long as its chunk")
        by_file[piece.file] += piece.extents
    if not all(used):
        raise ManifestInvalidError("a chunk is listed that no file uses")
    for file, extents in zip(manifest.files, by_file, strict=True):
        end = 0
        for extent in sorted(extents):
            if extent.offset_bytes != end or extent.length_bytes <= 0:
                raise ManifestInvalidError(f"the chunks of {file.path} leave a gap or overlap at byte {end}")
            end += extent.length_bytes
        if end != file.size_bytes:
            raise ManifestInvalidError(
                f"{file.path} should have {file.size_bytes} bytes and its chunks have {end}"
            )
