"""Mirror: releases copied from one store to another, with all that they need; only what is missing, all of it checked.

Order of writes as in a publish: packs, manifests, deltas, what is signed. So the copy is a store like any other at any
moment, and a mirror that was cut off goes on where it was. What is signed is copied whole, with no need of keys: a
copy of some releases lists the others as well, and whoever asks for one hears that its manifest is not there.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from registry.catalog import Catalog, ReleaseId
from registry.digest import digest_of
from registry.errors import ChunkMismatchError, ReleaseUnknownError, StoreError
from registry.layout import deltas_prefix, manifest_key, pack_key
from registry.manifest import manifest_digest
from registry.progress import Progress, ProgressHook, ignore_progress
from registry.publish.confirm import is_whole
from registry.reference import parse_reference
from registry.store.rewriting import write_anew
from registry.trust.copying import copy_signed_files, signed_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.manifest import Pack
    from registry.store import ObjectStore
    from registry.trust.signed_store import SignedStore

log = structlog.get_logger()

_COPIES_AT_ONCE_COUNT = 3  # each holds one pack: 64 MiB
_ROUNDS_COUNT = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorReport:
    """What was copied.

    Attributes:
        releases_count: releases that are whole in the target now.
        copied_bytes: packs, manifests and deltas that were missing there.
        present_bytes: packs that were there.
        checked_bytes: of those, what was read and hashed.
        signed_files_count: signed metadata that were missing there.
    """

    releases_count: int
    copied_packs_count: int
    copied_bytes: int
    present_bytes: int
    checked_bytes: int
    signed_files_count: int


def mirror(
    source: SignedStore,
    target: ObjectStore,
    *,
    references: Sequence[str] = (),
    check_present: bool = False,
    progress: ProgressHook = ignore_progress,
) -> MirrorReport:
    """Copy releases. Blocks; running it again copies what is missing.

    Args:
        source: where they are.
        target: where they go; nothing of it is trusted.
        references: models (`chat`: all releases) or single releases (`chat@1.2.0`); empty is everything.
        check_present: hash packs that the target has already, and write those anew that are damaged.
        progress: hears how many bytes of packs are in place.

    Raises:
        ReleaseUnknownError: the source has no such model or release.
        ChunkMismatchError: a pack of the source is damaged.
        ReleaseConflictError: the target has signed metadata of others.
        TrustRollbackError: the target is newer than the source.
        TrustError: what is signed in the source is refused.
        StoreError: a store failed, or garbage collections kept removing what was copied; run it again.
    """
    signed = signed_files(source.reader)
    catalog = Catalog(source).frozen()
    releases = _chosen(catalog, references)
    manifests = {release: catalog.manifest(release.name, release.version) for release in releases}
    copied = _Copied()
    for _ in range(_ROUNDS_COUNT):
        packs = sorted({pack for _, manifest in manifests.values() for pack in manifest.packs})
        _copy_packs(source, target, packs, copied, check_present, progress)
        for release, (data, _) in manifests.items():
            copied.bytes += len(data) * _copy_manifest(target, release, data)
        # As a publisher does: a garbage collection in the target may just be at packs that were there already.
        if all(is_whole(target, *manifest) for manifest in manifests.values()):
            break
    else:
        raise StoreError("garbage collections in the target keep removing what is copied; mirror again later")
    for data, _ in manifests.values():
        copied.bytes += _copy_deltas(source, target, data)
    report = MirrorReport(
        releases_count=len(releases),
        copied_packs_count=copied.packs_count,
        copied_bytes=copied.bytes,
        present_bytes=copied.present_bytes,
        checked_bytes=copied.present_bytes if check_present else 0,
        signed_files_count=copy_signed_files(signed, target),
    )
    log.info("releases.mirrored", releases_count=report.releases_count, copied_bytes=report.copied_bytes)
    return report


@dataclass(slots=True)
class _Copied:
    packs_count: int = 0
    bytes: int = 0
    present_bytes: int = 0


def _copy_packs(
    source: ObjectStore,
    target: ObjectStore,
    packs: Sequence[Pack],
    copied: _Copied,
    check_present: bool,
    progress: ProgressHook,
) -> None:
    total_bytes, done_bytes = sum(pack.length_bytes for pack in packs), 0
    with ThreadPoolExecutor(_COPIES_AT_ONCE_COUNT, thread_name_prefix="mirror") as threads:
        try:
            copies = {threads.submit(_copy, source, target, pack, check_present): pack for pack in packs}
            for copy in as_completed(copies):
                was_copied, length_bytes = copy.result(), copies[copy].length_bytes
                done_bytes += length_bytes
                copied.packs_count += was_copied
                copied.bytes += length_bytes * was_copied
                copied.present_bytes += length_bytes * (not was_copied)
                progress(Progress("mirror", done_bytes, total_bytes, "source" if was_copied else "target"))
        finally:
            threads.shutdown(cancel_futures=True)


def _chosen(catalog: Catalog, references: Sequence[str]) -> list[ReleaseId]:
    """The releases to copy."""
    known = catalog.releases()
    if not references:
        return list(known)
    chosen: set[ReleaseId] = set()
    for text in references:
        if "@" in text or ":" in text:
            name, version = catalog.resolve(parse_reference(text))
            chosen.add(ReleaseId(name, version))
        else:
            found = {release for release in known if release.name == text}
            if not found:
                raise ReleaseUnknownError(f"there is no model {text}")
            chosen |= found
    return sorted(chosen)


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
    """Whether a manifest had to be copied."""
    key = manifest_key(release.name, release.version, manifest_digest(data))
    if target.put_if_absent(key, data):
        return True
    # A mirror that was cut off may have left it long ago, and it is signed only at the end.
    write_anew(target, key, data)
    return False


def _copy_deltas(source: ObjectStore, target: ObjectStore, data: bytes) -> int:
    """How many bytes of deltas to a release had to be copied. They need no check: whoever uses one checks it."""
    copied_bytes = 0
    for info in source.list(deltas_prefix(manifest_digest(data))):
        if target.head(info.key) is None and target.put_if_absent(info.key, source.get(info.key).data):
            copied_bytes += info.length_bytes
    return copied_bytes
