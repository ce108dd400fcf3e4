"""Mirror: releases copied from one store to another, with all that they need; only what is missing, all of it checked.

Order of writes as in a publish: packs, manifests, channels. So the copy is a store like any other at every moment, and
a mirror that was cut off goes on where it was.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from registry.catalog import Catalog, ReleaseId
from registry.digest import digest_of
from registry.errors import ChunkMismatchError, ReleaseConflictError, ReleaseUnknownError
from registry.layout import manifest_key, pack_key
from registry.manifest import content_digest, decode_manifest
from registry.progress import Progress, ProgressHook, ignore_progress
from registry.reference import parse_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.manifest import Pack
    from registry.store import ObjectStore

log = structlog.get_logger()

_COPIES_AT_ONCE_COUNT = 3  # each holds one pack: 64 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorReport:
    """What was copied.

    Attributes:
        releases_count: releases that are whole in the target now.
        copied_bytes: packs and manifests that were missing there.
        present_bytes: packs that were there.
        checked_bytes: of those, what was read and hashed.
        channels_count: channels that were pointed elsewhere.
    """

    releases_count: int
    copied_packs_count: int
    copied_bytes: int
    present_bytes: int
    checked_bytes: int
    channels_count: int


def mirror(
    source: ObjectStore,
    target: ObjectStore,
    *,
    references: Sequence[str] = (),
    check_present: bool = False,
    progress: ProgressHook = ignore_progress,
) -> MirrorReport:
    """Copy releases and channels. Blocks; running it again copies what is missing.

    Args:
        source: where they are.
        target: where they go.
        references: models (`chat`: all releases and channels) or single releases (`chat@1.2.0`); empty is everything.
        check_present: hash packs that the target has already, and write those anew that are damaged.
        progress: hears how many bytes of packs are in place.

    Raises:
        ReleaseUnknownError: the source has no such model or release.
        ChunkMismatchError: a pack of the source is damaged.
        ReleaseConflictError: the target has another release of the same name and version.
    """
    releases, names = _chosen(Catalog(source), references)
    manifests = {release: Catalog(source).manifest(release.name, release.version) for release in releases}
    packs = sorted({pack for _, manifest in manifests.values() for pack in manifest.packs})
    total_bytes = sum(pack.length_bytes for pack in packs)
    done_bytes = copied_count = copied_bytes = present_bytes = 0
    with ThreadPoolExecutor(_COPIES_AT_ONCE_COUNT, thread_name_prefix="mirror") as threads:
        try:
            copies = {threads.submit(_copy, source, target, pack, check_present): pack for pack in packs}
            for copy in as_completed(copies):
                was_copied, length_bytes = copy.result(), copies[copy].length_bytes
                done_bytes += length_bytes
                copied_count += was_copied
                copied_bytes += length_bytes * was_copied
                present_bytes += length_bytes * (not was_copied)
                progress(Progress("mirror", done_bytes, total_bytes, "source" if was_copied else "target"))
        finally:
            threads.shutdown(cancel_futures=True)
    for release, (data, _) in manifests.items():
        copied_bytes += len(data) * _copy_manifest(target, release, data)
    report = MirrorReport(
        releases_count=len(releases),
        copied_packs_count=copied_count,
        copied_bytes=copied_bytes,
        present_bytes=present_bytes,
        checked_bytes=present_bytes if check_present else 0,
        channels_count=_copy_channels(source, target, names, set(releases)),
    )
    log.info("releases.mirrored", releases_count=report.releases_count, copied_bytes=report.copied_bytes)
    return report


def _chosen(catalog: Catalog, references: Sequence[str]) -> tuple[list[ReleaseId], list[str]]:
    """The releases to copy, and the models whose channels go with them."""
    known = catalog.releases()
    if not references:
        return list(known), sorted({release.name for release in known})
    chosen: set[ReleaseId] = set()
    names: set[str] = set()
    for text in references:
        if "@" in text or ":" in text:
            name, version = catalog.resolve(parse_reference(text))
            chosen.add(ReleaseId(name, version))
        else:
            found = {release for release in known if release.name == text}
            if not found:
                raise ReleaseUnknownError(f"there is no model {text}")
            chosen |= found
            name = text
        names.add(name)
    return sorted(chosen), sorted(names)


def _copy(source: ObjectStore, target: ObjectStore, pack: Pack, check_present: bool) -> bool:
    """Whether a pack had to be copied."""
    key = pack_key(pack.digest)
    info = target.head(key)
    if info is not None and info.length_bytes == pack.length_bytes:
        if not check_present or digest_of(target.get(key).data) == pack.digest:
            return False
        log.warning("pack.damaged", key=key)
    data = source.get(key).data
    if digest_of(data) != pack.digest:
        raise ChunkMismatchError(
            f"{key} is damaged in the store that is copied; mend it first: publish again"
        )
    if info is not None:
        target.delete(key)
    target.put_if_absent(key, data)
    return True


def _copy_manifest(target: ObjectStore, release: ReleaseId, data: bytes) -> bool:
    key = manifest_key(release.name, release.version)
    if target.put_if_absent(key, data):
        return True
    stored = target.get(key)
    if stored.data == data:
        return False
    if content_digest(decode_manifest(stored.data)) != content_digest(decode_manifest(data)):
        raise ReleaseConflictError(f"the target has another release {release}; a version never changes")
    target.put_if_match(key, data, stored.etag)  # the same files, packed otherwise
    return True


def _copy_channels(
    source: ObjectStore, target: ObjectStore, names: Sequence[str], copied: set[ReleaseId]
) -> int:
    moved_count = 0
    for name in names:
        for channel, version in Catalog(source).channels(name).items():
            if ReleaseId(name, version) in copied:
                moved_count += Catalog(target).move_channel(name, channel, version)
    return moved_count
