"""Shelf: the chunks that this node can give to others, from releases on its disk and from the fetch under way."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import structlog

from registry.digest import digest_of
from registry.errors import ManifestInvalidError
from registry.fetch.turns import bits_of
from registry.manifest import decode_manifest, manifest_digest
from registry.release_directory import MANIFEST_NAME, ReleaseDirectory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from registry.digest import Digest
    from registry.manifest import Manifest, Part

log = structlog.get_logger()


class _Offer:
    """One release: all of its pieces that `done` marks can be read; None means all of them.

    It lies in the first of the directories until it moves to the next.
    """

    def __init__(
        self,
        directories: Sequence[Path],
        manifest: Manifest,
        done: bytearray | None,
        variants: tuple[str, ...],
    ) -> None:
        self.variants = variants
        self._releases = [ReleaseDirectory(directory, manifest) for directory in directories]
        self._manifest = manifest
        self._done = done
        self._pieces: dict[Digest, list[int]] = {}
        for number, piece in enumerate(manifest.pieces):
            self._pieces.setdefault(manifest.chunks[piece.chunk].digest, []).append(number)
        self._bitmap = b""
        self._bitmap_count = -1

    def bitmap(self) -> bytes:
        """Which chunks can be read, by their number in the manifest."""
        count = len(self._manifest.pieces) if self._done is None else self._done.count(1)
        if count != self._bitmap_count:
            chunks = self._manifest.chunks
            self._bitmap = bits_of(self._readable(chunk.digest) is not None for chunk in chunks)
            self._bitmap_count = count
        return self._bitmap

    def read(self, digest: Digest) -> bytes | None:
        """The bytes of a chunk, right ones or none."""
        number = self._readable(digest)
        if number is None:
            return None
        for release in self._releases:
            try:
                raw = release.read_piece(self._manifest.pieces[number])
            except OSError:  # it has moved on, or has just been removed
                continue
            if digest_of(raw) == digest:
                return raw
            log.warning("held_chunk.damaged", digest=digest, directory=str(release.directory))
        return None

    def _readable(self, digest: Digest) -> int | None:
        numbers = self._pieces.get(digest, ())
        return next((number for number in numbers if self._done is None or self._done[number]), None)


def _held_pieces(release: ReleaseDirectory) -> bytearray | None:
    if release.part.is_whole:
        return None
    held = bytearray(len(release.manifest.pieces))
    for number in release.part.pieces:
        held[number] = 1
    return held


class Shelf:
    """What is offered, by the digests of manifests. All calls may block, and may come from any thread."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._whole: dict[Digest, Path] = {}
        self._whole_offers: dict[Digest, _Offer] = {}
        self._partial: dict[Digest, _Offer] = {}

    def offer_whole(self, directories: Mapping[Digest, Path]) -> None:
        """Offer exactly these releases, besides fetches under way; each is looked into when it is first asked for."""
        with self._guard:
            self._whole = dict(directories)
            self._whole_offers = {
                manifest: offer for manifest, offer in self._whole_offers.items() if manifest in self._whole
            }

    def add_whole(self, manifest: Digest, directory: Path) -> None:
        """Offer one more release, or more of one."""
        with self._guard:
            self._whole_offers.pop(manifest, None)
            self._whole[manifest] = directory

    def begin(self, digest: Digest, part: Part, directories: Sequence[Path], done: bytearray) -> None:
        """Offer variants that are being fetched, or lie there: the pieces that `done` marks, as it grows.

        It is looked for in the first directory, and in the next ones once it has moved there.
        """
        offer = _Offer(directories, part.manifest, done, part.variants)
        with self._guard:
            self._partial[digest] = offer

    def end(self, digest: Digest) -> None:
        """Stop to offer a release as one that is being fetched."""
        with self._guard:
            self._partial.pop(digest, None)

    def have(self, manifest: Digest) -> bytes | None:
        """The bitmap of the chunks of a manifest that can be read; None when it is not here."""
        offer = self._offer(manifest)
        return None if offer is None else offer.bitmap()

    def variants(self, manifest: Digest) -> tuple[str, ...]:
        """The variants of a manifest that are here or on their way."""
        offer = self._offer(manifest)
        return () if offer is None else offer.variants

    def read(self, digest: Digest) -> bytes | None:
        """The bytes of a chunk, right ones or none."""
        with self._guard:
            manifests = (*self._partial, *self._whole)
        for manifest in manifests:
            offer = self._offer(manifest)
            raw = None if offer is None else offer.read(digest)
            if raw is not None:
                return raw
        return None

    def _offer(self, manifest: Digest) -> _Offer | None:
        with self._guard:
            known = self._partial.get(manifest) or self._whole_offers.get(manifest)
            directory = self._whole.get(manifest)
        if known is not None or directory is None:
            return known
        try:
            data = (directory / MANIFEST_NAME).read_bytes()
        except OSError:
            return None
        if manifest_digest(data) != manifest:  # replaced by one of the same content, or damaged
            return None
        try:
            release = ReleaseDirectory.open(directory, decode_manifest(data))
        except ManifestInvalidError:
            return None
        offer = _Offer((directory,), release.manifest, _held_pieces(release), release.part.variants)
        with self._guard:
            if self._whole.get(manifest) == directory:
                self._whole_offers[manifest] = offer
        return offer
