"""Writes deltas: from earlier releases to the one that is being published, where that pays."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import structlog

from registry.delta import Coded, Mode, best_of, encode_head, encode_patch, new_chunks
from registry.element_forms import Form
from registry.errors import ArtifactError, ObjectMissingError, TrustError
from registry.manifest import manifest_digest, unpack_manifest
from registry.packing import encode_chunk, load_plane_module
from registry.publish.counterparts import counterparts
from registry.publish.delta_parts import DeltaParts
from registry.publish.earlier_release import EarlierRelease

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from registry.catalog import Catalog
    from registry.chunking import Cut, Segment
    from registry.manifest import Manifest
    from registry.store import ObjectStore

_RELEASES_COUNT = 3
_WORTH_KEEPING = 0.5
_THREADS_LIMIT_COUNT = 4
# Level 19 makes deltas smaller, and takes so long for it that it is too long for a large change.
_THOROUGH_LEVEL, _QUICK_LEVEL = 19, 7
_THOROUGH_LIMIT_BYTES = 128 * 1024 * 1024

log = structlog.get_logger()


class NewChunk(NamedTuple):
    """What is known of a chunk of the release that is being published: its file's path and how it was cut."""

    path: str
    cut: Cut


def choose_bases(
    catalog: Catalog, name: str, version: str, parent: str | None
) -> list[tuple[bytes, Manifest]]:
    """The releases that get a delta: the last few of this model, and the parent; manifests that are broken are not."""
    found = []
    for other in catalog.versions(name):
        try:
            found.append(catalog.manifest(name, other))
        except (ArtifactError, TrustError) as error:
            log.warning("manifest.skipped", release=f"{name}@{other}", error=error.message)
    found.sort(key=lambda item: (item[1].created_unix_s, item[1].version), reverse=True)
    chosen = [item for item in found if item[1].version != version][:_RELEASES_COUNT]
    if parent is not None:
        of_parent = catalog.manifest(*catalog.resolve(parent))
        if of_parent not in chosen:
            chosen.append(of_parent)
    return chosen


class DeltaWriter:
    """Makes the deltas of one release.

    Args:
        store: where they go, and where the earlier releases are.
        data: the new manifest as it will be stored.
        manifest: the same, read.
        known: of each of its chunks, by number.
        read: gives the raw bytes of a new chunk.
    """

    def __init__(
        self,
        store: ObjectStore,
        data: bytes,
        manifest: Manifest,
        known: Sequence[NewChunk],
        read: Callable[[NewChunk], bytes],
    ) -> None:
        self._store = store
        self._data = data
        self._manifest = manifest
        self._known = known
        self._read = read

    def write(self, base_data: bytes, base_manifest: Manifest) -> int:
        """Write the delta from one earlier release if it is worth it; how many bytes were uploaded.

        An earlier release that cannot be read gets none: a delta is never needed.
        """
        release = f"{self._manifest.name}@{self._manifest.version}"
        base = EarlierRelease(base_data, base_manifest, self._store)
        try:
            uploaded_bytes = self._write(base)
        except (ArtifactError, ObjectMissingError) as error:
            log.warning("delta.skipped", release=release, base=base_manifest.version, error=error.message)
            return 0
        if uploaded_bytes:
            log.info(
                "delta.written", release=release, base=base_manifest.version, uploaded_bytes=uploaded_bytes
            )
        return uploaded_bytes

    def _write(self, base: EarlierRelease) -> int:
        wanted = new_chunks(self._manifest, base.manifest)
        chunks = [self._manifest.chunks[number] for number in wanted]
        limit = _WORTH_KEEPING * (len(self._data) + sum(chunk.stored_bytes for chunk in chunks))
        raw_bytes = sum(chunk.raw_bytes for chunk in chunks)
        level = _THOROUGH_LEVEL if raw_bytes <= _THOROUGH_LIMIT_BYTES else _QUICK_LEVEL
        parts = DeltaParts(self._store, manifest_digest(self._data), base.digest)
        entries: list[tuple[Mode, int, int]] = []
        try:
            for one in self._coded(base, wanted, level, limit):
                entries.append((one.mode, one.against, len(one.body)))
                if parts.total_bytes + len(one.body) > limit:
                    return parts.give_up()
                parts.add(one.body)
            head = encode_head(unpack_manifest(self._data), base.plain, entries)
            if head is None or len(entries) < len(wanted) or parts.total_bytes + len(head) > limit:
                return parts.give_up()
            return parts.finish(head)
        except (ArtifactError, ObjectMissingError):
            parts.give_up()
            raise

    def _coded(self, base: EarlierRelease, wanted: list[int], level: int, limit: float) -> Iterator[Coded]:
        roles = base.roles() if wanted else {}
        others = counterparts(self._manifest, base.manifest)
        pairs = []
        alone_bytes = 0
        for number in wanted:
            path, piece = self._known[number]
            against = roles.get((others.get(path, path), piece.role))
            pairs.append((number, against))
            if against is None:
                alone_bytes += self._manifest.chunks[number].stored_bytes
        if alone_bytes > limit:
            return
        threads_count = min(_THREADS_LIMIT_COUNT, os.cpu_count() or 1)
        with ThreadPoolExecutor(threads_count) as threads:
            for start in range(0, len(pairs), threads_count):
                batch = [
                    threads.submit(
                        _code,
                        self._read(self._known[number]),
                        self._known[number].cut.segments,
                        None if against is None else (against[0], base.chunk(against[0]), against[1]),
                        level,
                    )
                    for number, against in pairs[start : start + threads_count]
                ]
                for future in batch:
                    yield future.result()


def _code(
    raw: bytes,
    segments: tuple[Segment, ...],
    against: tuple[int, bytes, tuple[Segment, ...]] | None,
    level: int,
) -> Coded:
    candidates = []
    if against is not None:
        number, before, before_segments = against
        if before_segments == segments and any(segment.form != Form.PLAIN for segment in segments):
            difference = load_plane_module("plane_differences").encode_difference(
                raw, before, segments, level
            )
            candidates.append(Coded(Mode.DIFFERENCE, number, difference))
        else:
            candidates.append(Coded(Mode.PATCH, number, encode_patch(raw, before)))
    if not candidates or len(candidates[0].body) > len(raw) // 2:
        candidates.append(Coded(Mode.STORED, 0, encode_chunk(raw, segments)))
    return best_of(candidates)
