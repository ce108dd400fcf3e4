"""Chunks that other releases on this disk have already, found by digest; their bytes are checked when they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from registry.digest import digest_of
from registry.errors import ManifestInvalidError
from registry.manifest import decode_manifest
from registry.release_directory import MANIFEST_NAME, ReleaseDirectory

if TYPE_CHECKING:
    from collections.abc import Container, Sequence
    from pathlib import Path

    from registry.digest import Digest
    from registry.manifest import Piece

log = structlog.get_logger()


class LocalChunks:
    """An index of the wanted chunks in installed releases."""

    def __init__(self, directories: Sequence[Path], wanted: Container[Digest]) -> None:
        self._places: dict[Digest, tuple[ReleaseDirectory, Piece]] = {}
        for directory in directories:
            try:
                manifest = decode_manifest((directory / MANIFEST_NAME).read_bytes())
                release = ReleaseDirectory.open(directory, manifest)
            except (OSError, ManifestInvalidError) as error:
                log.warning("local_release.skipped", directory=str(directory), error=str(error))
                continue
            for number in release.part.pieces:
                piece = manifest.pieces[number]
                digest = manifest.chunks[piece.chunk].digest
                if digest in wanted:
                    self._places.setdefault(digest, (release, piece))

    def __contains__(self, digest: Digest) -> bool:
        """Whether some release says it has this chunk."""
        return digest in self._places

    def read(self, digest: Digest) -> bytes | None:
        """The bytes of a chunk; None when they are not there any more or are damaged."""
        release, piece = self._places[digest]
        try:
            raw = release.read_piece(piece)
        except OSError as error:
            log.warning(
                "local_chunk.lost", digest=digest, file=str(release.file(piece.file)), error=str(error)
            )
            return None
        if digest_of(raw) != digest:
            log.warning("local_chunk.damaged", digest=digest, file=str(release.file(piece.file)))
            return None
        return raw
