"""Bring one wanted release onto the disk: manifest, checks, and a fetch that uses what is here already.

`fetch` hashes every byte on its way to the disk, so nothing is read a second time before the engine loads it; a
release that does not load is read through then (`verify_whole`).
"""

from __future__ import annotations

import asyncio
import errno
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from edge_node.engine_plan import engine_kind
from edge_node.variant_choice import choose_variant, fits
from registry.digest import Digest
from registry.errors import ArtifactError, ChunkMismatchError, DiskFullError, InputInvalidError
from registry.fetch import MANIFEST_NAME, ask_delta, fetch
from registry.manifest import content_digest, decode_manifest, manifest_digest
from registry.progress import ignore_progress
from registry.verify import verify

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from edge_node.model_store import InstalledRelease, ModelStore
    from edge_node.trust import Admitting
    from origin.api import WantedRelease
    from registry.fetch.neighbours import Neighbours
    from registry.manifest import Manifest, Variant
    from registry.progress import ProgressHook

log = structlog.get_logger()


class ReleaseSource(Protocol):
    """Where manifests and ranges of packs come from (`origin.client.OriginClient`)."""

    name: str

    async def manifest(self, name: str, version: str) -> bytes:
        """The bytes of a manifest."""

    async def read_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that range of a pack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A release that is now whole on the disk, and what bringing it cost.

    Attributes:
        fetched_bytes: all that came from the origin, the manifest included.
        peer_bytes: model bytes that came from other nodes.
        reused_bytes: model bytes that came from other releases on this disk.
    """

    release: InstalledRelease
    fetched_bytes: int = 0
    reused_bytes: int = 0
    peer_bytes: int = 0


async def install(
    wanted: WantedRelease,
    *,
    source: ReleaseSource,
    trust: Admitting,
    store: ModelStore,
    local: Sequence[Path],
    evict: Callable[[], Awaitable[None]],
    progress: ProgressHook,
    concurrency_count: int,
    neighbours: Neighbours | None = None,
) -> Installed:
    """Bring the variant of a release that suits this node onto the disk, whatever lies there already.

    Args:
        wanted: name, version, and the digest that its manifest must have.
        source: the origin.
        trust: asked first; what is not signed is not fetched.
        store: where it goes; its machine decides on the variant.
        local: directories of other installed releases, whose chunks are used again.
        evict: takes the release of this name and version out of use and off the disk.
        progress: told how far the fetch is.
        concurrency_count: ranges read at once.
        neighbours: other nodes to ask before the origin.

    Raises:
        TrustError: no signature vouches for the release.
        ChunkMismatchError: the manifest is not the one that was promised.
        ArtifactError: it contradicts itself, no variant fits this node or its engines, or the disk garbled a file.
        DiskFullError: no room; what was fetched is kept for the next attempt.
        EdgewardError: whatever the origin answered.
    """
    await trust.admit(wanted)
    delta = await ask_delta(source, Digest(wanted.manifest_sha256), _alike(local, store, wanted.name))
    manifest_bytes = delta.manifest_bytes if delta else await source.manifest(wanted.name, wanted.version)
    manifest = await asyncio.to_thread(_checked_manifest, wanted, manifest_bytes)
    variant = _servable_variant(manifest, store)
    target = store.path(wanted.name, wanted.version)
    with _full_disk_named(manifest):
        here = await asyncio.to_thread(target.exists)
        if here and not await asyncio.to_thread(_described_anew, store, manifest, manifest_bytes):
            log.warning("release.replaced", release=f"{wanted.name}@{wanted.version}")
            await evict()
        report = await fetch(
            manifest_bytes,
            source,
            target,
            variants=(variant.name,),
            local=local,
            delta=delta,
            progress=progress,
            concurrency_count=concurrency_count,
            neighbours=neighbours,
        )
    return Installed(
        release=await asyncio.to_thread(store.inspect, wanted.name, wanted.version),
        fetched_bytes=(0 if delta else len(manifest_bytes)) + report.fetched_bytes,
        reused_bytes=report.reused_bytes,
        peer_bytes=report.peer_bytes,
    )


def _servable_variant(manifest: Manifest, store: ModelStore) -> Variant:
    """The variant to take; raises before any byte of it is fetched."""
    variant = choose_variant(manifest, store.machine)
    engine_kind(f"{manifest.name}@{manifest.version}", variant.kind)
    if not fits(variant, store.machine):
        log.warning("variant.tight", release=f"{manifest.name}@{manifest.version}", variant=variant.name)
    return variant


@contextmanager
def _full_disk_named(manifest: Manifest) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise DiskFullError(
            f"no room on this node's disk for {manifest.name}@{manifest.version} ({manifest.total_bytes} bytes)"
        ) from error


def _alike(local: Sequence[Path], store: ModelStore, name: str) -> list[Path]:
    """The installed releases of the same model, the newest first: those that a delta may start from."""
    folder = store.path(name, "0").parent
    mine = [directory for directory in local if directory.parent == folder]
    return sorted(mine, key=lambda directory: directory.stat().st_mtime, reverse=True)


async def verify_whole(store: ModelStore, name: str, version: str) -> None:
    """Read an installed release through; one that is not what its manifest says goes off the disk.

    Raises:
        ChunkMismatchError: it was damaged, and is gone now.
    """
    directory = store.path(name, version)
    try:
        report = await asyncio.to_thread(verify, directory, ignore_progress)
        bad = (*(file.path for file in report.damaged), *report.missing)
    except (ArtifactError, InputInvalidError):
        bad = (MANIFEST_NAME,)
    if bad:
        log.error("release.damaged", release=f"{name}@{version}", files=bad)
        await asyncio.to_thread(store.remove, name, version)
        raise ChunkMismatchError(f"{name}@{version} was damaged on this node's disk ({', '.join(bad)})")


def _described_anew(store: ModelStore, manifest: Manifest, manifest_bytes: bytes) -> bool:
    """Whether the release on the disk has this content already; if so, it takes this manifest."""
    try:
        here = store.inspect(manifest.name, manifest.version)
    except ArtifactError:
        return False
    if here.content_sha256 != content_digest(manifest):
        return False
    store.replace_manifest(manifest.name, manifest.version, manifest_bytes)
    return True


def _checked_manifest(wanted: WantedRelease, manifest_bytes: bytes) -> Manifest:
    release = f"{wanted.name}@{wanted.version}"
    if manifest_digest(manifest_bytes) != wanted.manifest_sha256:
        raise ChunkMismatchError(
            f"the manifest of {release} that the origin sent is not the one that it named"
        )
    manifest = decode_manifest(manifest_bytes)
    if (manifest.name, manifest.version) != (wanted.name, wanted.version):
        raise ArtifactError(f"the manifest of {release} is that of {manifest.name}@{manifest.version}")
    return manifest
