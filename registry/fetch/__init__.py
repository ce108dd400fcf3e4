"""Fetch: a manifest becomes verified files on disk, from what is there already and from a source of ranges.

Every byte is hashed as it arrives, before it counts; there is no second pass. A fetch that ends early, in whatever
way, leaves a partial release from which the next one goes on. The target appears whole or not at all.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from registry.errors import ManifestInvalidError, ReleaseConflictError
from registry.fetch.delta_intake import DeltaSource, ReceivedDelta, ask_delta
from registry.fetch.job import FetchJob, FetchReport
from registry.fetch.partial import remove_partials_of, remove_stale_partials, try_lock
from registry.fetch.source import Source, StoreSource
from registry.manifest import Manifest, Part, decode_manifest, manifest_digest, part_of
from registry.progress import ProgressHook, ignore_progress
from registry.release_directory import FILES_NAME, MANIFEST_NAME, read_held
from registry.system_calls import freed_memory_kept

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection, Sequence
    from pathlib import Path

    from registry.fetch.neighbours import Neighbours

__all__ = [
    "FILES_NAME",
    "MANIFEST_NAME",
    "DeltaSource",
    "FetchReport",
    "ReceivedDelta",
    "Source",
    "StoreSource",
    "ask_delta",
    "fetch",
    "remove_stale_partials",
]

_LOCK_POLL_S = 0.1
_KEPT_BYTES = 64 * 1024 * 1024

log = structlog.get_logger()


async def fetch(
    manifest_bytes: bytes,
    source: Source,
    target: Path,
    *,
    variants: Collection[str] | None = None,
    local: Sequence[Path] = (),
    delta: ReceivedDelta | None = None,
    progress: ProgressHook = ignore_progress,
    concurrency_count: int = 4,
    neighbours: Neighbours | None = None,
) -> FetchReport:
    """Make the release of a manifest appear at `target`, as `manifest.eaf` and `files/…`.

    With some of its variants there, those that are missing are added.
    If another process fetches the same, wait for it. Cancelling is safe and keeps what has arrived.

    Args:
        manifest_bytes: of the release; trusted, everything else is checked against it.
        source: gives ranges of packs.
        target: a directory that does not exist yet, or holds this very release, or variants of it.
        variants: the names of those that are wanted; None is all.
        local: directories of other releases, whose chunks are used where they fit.
        delta: what `ask_delta` gave; the release that it starts from should be among `local`.
        progress: hears how many bytes are in place, and from where.
        concurrency_count: ranges in flight; memory is at most some 32 MiB for each.
        neighbours: nodes that may have chunks already, and get those that arrive here.

    Raises:
        ManifestInvalidError: the manifest breaks a rule.
        InputInvalidError: the release has no such variant.
        ReleaseConflictError: another release is at `target`.
        DiskFullError: there is no room; nothing was fetched, or what has arrived is kept.
        ChunkMismatchError: the source gave wrong bytes for a chunk, three times.
        EdgewardError: what the source raises.
    """
    manifest = await asyncio.to_thread(decode_manifest, manifest_bytes)
    digest = manifest_digest(manifest_bytes)
    wanted = part_of(manifest, variants)
    waited = False
    while (lacking := wanted - (held := _held(target, manifest, manifest_bytes))).variants:
        partial = try_lock(target, lacking, held, digest)
        if partial is None:
            if not waited:
                log.info(
                    "fetch.delayed", release=f"{manifest.name}@{manifest.version}", reason="another is at it"
                )
                waited = True
            await asyncio.sleep(_LOCK_POLL_S)
            continue
        job = FetchJob(manifest, digest, partial, source, progress, concurrency_count, neighbours)
        try:
            # Another process may have finished between our look and our lock.
            if _held(target, manifest, manifest_bytes) == held:
                return await _keeping_memory(job.run(manifest_bytes, target, local, delta))
        finally:
            job.close()
            partial.close()
    await asyncio.to_thread(remove_partials_of, target)
    return FetchReport.of_whole(wanted.total_bytes)


async def _keeping_memory(work: Awaitable[FetchReport]) -> FetchReport:
    with freed_memory_kept(_KEPT_BYTES):
        return await work


def _held(target: Path, manifest: Manifest, manifest_bytes: bytes) -> Part:
    """The variants of this release that are at the target."""
    try:
        found = (target / MANIFEST_NAME).read_bytes()
    except FileNotFoundError:
        if target.exists() and any(target.iterdir()):
            raise ReleaseConflictError(
                f"{target} holds something that is not a release; remove it first"
            ) from None
        return part_of(manifest, ())
    if found != manifest_bytes and not _is_same(found, manifest_bytes):
        raise ReleaseConflictError(f"{target} holds another release; remove it or fetch to another directory")
    return read_held(target, manifest)


def _is_same(found: bytes, manifest_bytes: bytes) -> bool:
    """Whether two manifests are one, packed in two ways."""
    try:
        return manifest_digest(found) == manifest_digest(manifest_bytes)
    except ManifestInvalidError:
        return False
