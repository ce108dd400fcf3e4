"""Verify: whether a release on disk still has the bytes that its manifest names."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from registry.digest import digest_of
from registry.progress import Progress, ProgressHook, ignore_progress
from registry.release_directory import ReleaseDirectory

if TYPE_CHECKING:
    from pathlib import Path

_READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """A file with other bytes; `chunks_count` of its chunks are wrong, which is what a repair would fetch."""

    path: str
    chunks_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyReport:
    """What was found, by path, of the variants that the directory holds."""

    name: str
    version: str
    variants: tuple[str, ...]
    total_bytes: int
    ok: tuple[str, ...]
    damaged: tuple[DamagedFile, ...]
    missing: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether every file is there and right."""
        return not self.damaged and not self.missing


def verify(directory: Path, progress: ProgressHook = ignore_progress) -> VerifyReport:
    """Read every file of a release and compare it with the manifest beside it.

    Raises:
        InputInvalidError: the directory holds no release.
        ManifestInvalidError: its manifest is damaged.
    """
    release = ReleaseDirectory.read(directory)
    manifest = release.manifest
    ok: list[str] = []
    damaged: list[DamagedFile] = []
    missing: list[str] = []
    done_bytes = 0
    for number in sorted(release.part.files):
        file = manifest.files[number]
        place = release.file(number)
        if not place.is_file():
            missing.append(file.path)
        elif _is_right(place, file.size_bytes, file.sha256, done_bytes, release.part.total_bytes, progress):
            ok.append(file.path)
        else:
            damaged.append(DamagedFile(file.path, _count_damaged(release, number)))
        done_bytes += file.size_bytes
        progress(Progress("verify", done_bytes, release.part.total_bytes))
    return VerifyReport(
        name=manifest.name,
        version=manifest.version,
        variants=release.part.variants,
        total_bytes=release.part.total_bytes,
        ok=tuple(ok),
        damaged=tuple(damaged),
        missing=tuple(missing),
    )


def _is_right(
    place: Path, size_bytes: int, sha256: str, before_bytes: int, total_bytes: int, progress: ProgressHook
) -> bool:
    whole = hashlib.sha256()
    with place.open("rb") as file:
        if os.fstat(file.fileno()).st_size != size_bytes:
            return False
        while data := file.read(_READ_BYTES):
            whole.update(data)
            progress(Progress("verify", before_bytes + file.tell(), total_bytes))
    return whole.hexdigest() == sha256


def _count_damaged(release: ReleaseDirectory, number: int) -> int:
    pieces = [piece for piece in release.manifest.pieces if piece.file == number]
    return sum(
        digest_of(release.read_piece(piece)) != release.manifest.chunks[piece.chunk].digest
        for piece in pieces
    )
