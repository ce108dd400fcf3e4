"""A delta asked of a source: the wanted manifest out of an installed one, and new chunks out of installed chunks.

It saves requests and bytes and is never needed: whatever is wrong with it, or missing, comes from packs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import structlog

from registry.delta import (
    Entry,
    Mode,
    decode_entry,
    decode_index,
    decode_manifest_patch,
    head_bytes,
    place_in_parts,
    start_limit_bytes,
)
from registry.digest import digest_of
from registry.errors import ArtifactError, ChunkMismatchError, EdgewardError, ObjectMissingError
from registry.manifest import decode_manifest, pack_manifest, unpack_manifest
from registry.plan import Located, plan_reads
from registry.release_directory import MANIFEST_NAME, ReleaseDirectory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from registry.digest import Digest
    from registry.manifest import Manifest, Piece
    from registry.plan import RangeRead

_ASKED_LIMIT_COUNT = 2

log = structlog.get_logger()


@runtime_checkable
class DeltaSource(Protocol):
    """A source that also has deltas. Needs no trust."""

    async def delta(self, new: Digest, base: str, offset_bytes: int, limit_bytes: int) -> tuple[bytes, int]:
        """At most so many bytes of a delta from an offset on, and how long it is. Raises ObjectMissingError.

        `base` may be the name of a part (`registry.layout.delta_part`).
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedDelta:
    """A delta whose start has come.

    Attributes:
        manifest_bytes: the wanted release's manifest, checked by its digest.
        places: where the installed release has each of its chunks, by number; it may hold some variants alone.
        entries: the new chunks.
        start: the delta's first bytes, all of it if it is small.
        requests_count: what was asked of the source so far.
        fetched_bytes: what it sent.
    """

    manifest_bytes: bytes
    manifest: Manifest
    new: Digest
    base: Digest
    release: ReleaseDirectory
    places: Mapping[int, Piece]
    entries: tuple[Entry, ...]
    start: bytes
    requests_count: int
    fetched_bytes: int

    def read_part(self, entry: Entry, body: memoryview) -> bytes | memoryview:
        """The raw bytes of a new chunk.

        Raises:
            ChunkMismatchError: the delta, or the installed chunk that it starts from, is damaged.
            UnpackLimitError: it would unpack to more than declared.
        """
        before = b""
        if entry.mode != Mode.STORED:
            manifest = self.release.manifest
            try:
                before = self.release.read_piece(self.places[entry.against])
            except OSError as error:
                raise ChunkMismatchError(f"an installed chunk cannot be read: {error.strerror}") from error
            if digest_of(before) != manifest.chunks[entry.against].digest:
                raise ChunkMismatchError(
                    f"an installed chunk of {manifest.name}@{manifest.version} is damaged"
                )
        return decode_entry(entry, body, self.manifest.chunks[entry.chunk], before)

    def plan(self, missing: Sequence[int]) -> tuple[list[Entry], list[RangeRead]]:
        """The entries of missing chunks that are here already, and the ranges that hold the others.

        In the ranges a pack's number is that of the delta's part, and a chunk's number is the index of its entry.
        """
        wanted = set(missing)
        here, ahead = [], []
        for index, entry in enumerate(self.entries):
            if entry.chunk not in wanted or not (entry.mode == Mode.STORED or entry.against in self.places):
                continue
            if entry.part == 0 and entry.offset_bytes + entry.length_bytes <= len(self.start):
                here.append(entry)
            else:
                ahead.append(Located(entry.part, entry.offset_bytes, entry.length_bytes, index))
        return here, plan_reads(ahead)


async def ask_delta(source: object, wanted: Digest, local: Sequence[Path]) -> ReceivedDelta | None:
    """The delta that makes the release of a manifest out of an installed one; None when there is none.

    Args:
        source: whatever gives packs; one that has no deltas is not asked.
        wanted: the manifest's digest.
        local: directories of installed releases, those that are most like it first.
    """
    if not isinstance(source, DeltaSource):
        return None
    asked = 0
    for directory in local:
        try:
            plain = unpack_manifest((directory / MANIFEST_NAME).read_bytes())
        except (OSError, ArtifactError):
            continue
        asked += 1
        try:
            return await _receive(source, wanted, directory, plain, asked)
        except ObjectMissingError:
            pass
        except EdgewardError as error:
            log.warning("delta.refused", manifest=wanted, error=error.message)
        if asked == _ASKED_LIMIT_COUNT:
            break
    return None


async def _receive(
    source: DeltaSource, wanted: Digest, directory: Path, base_plain: bytes, requests_count: int
) -> ReceivedDelta:
    base = digest_of(base_plain)
    release = ReleaseDirectory.open(directory, decode_manifest(pack_manifest(base_plain)))
    start, total_bytes = await source.delta(wanted, base, 0, start_limit_bytes(release.part))
    fetched_bytes = len(start)
    head = head_bytes(start)
    if head > len(start):
        more, _ = await source.delta(wanted, base, len(start), head - len(start))
        start += more
        requests_count += 1
        fetched_bytes += len(more)
    plain, index = decode_manifest_patch(start[:head], base_plain, wanted)
    manifest_bytes = pack_manifest(plain)
    manifest = decode_manifest(manifest_bytes)
    entries = place_in_parts(decode_index(index, manifest, release.manifest, head), head, total_bytes)
    return ReceivedDelta(
        manifest_bytes=manifest_bytes,
        manifest=manifest,
        new=wanted,
        base=base,
        release=release,
        places={
            piece.chunk: piece for piece in map(release.manifest.pieces.__getitem__, release.part.pieces)
        },
        entries=tuple(entries),
        start=start,
        requests_count=requests_count,
        fetched_bytes=fetched_bytes,
    )
