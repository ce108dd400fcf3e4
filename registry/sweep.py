"""Sweep: garbage is removed from the store, while others publish and pull.

The order of steps is what makes it safe (`registry/README.md` has the argument): look what is needed, mark what is
not, look again, remove what is still not needed, take the mark away. It may be stopped at any step, and run again.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from registry.catalog import Catalog
from registry.condemned import condemn
from registry.errors import (
    ManifestInvalidError,
    ReleaseUnknownError,
    ReleaseYankedError,
    StoreError,
    TrustMissingError,
)
from registry.garbage import (
    SWEPT,
    Dated,
    Needed,
    Needs,
    is_garbage,
    needs_of,
    stands,
    superseded,
    unused_bytes,
)
from registry.layout import CONDEMNED, MANIFESTS, PACKS, PROBES, manifest_key, parse_manifest_key, probe_key
from registry.manifest import MANIFEST_LIMIT_BYTES, decode_manifest, manifest_digest
from registry.progress import Progress, ProgressHook, ignore_progress
from registry.trust.reader import read_bounded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registry.digest import Digest
    from registry.store import ObjectInfo, ObjectStore
    from registry.trust.signed_store import SignedStore

log = structlog.get_logger()

LEASE_S = 600.0
"""How long after its mark a batch may go on removing."""
FORGOTTEN_S = 3600.0
"""When the mark of a collection that died is taken away; far beyond the lease and any delay of one call."""
_BATCH_COUNT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepReport:
    """What was found and done.

    Attributes:
        releases_count: manifests whose packs are needed, those included that were withdrawn within the grace period,
            and that are about to be signed.
        withdrawn_releases: releases that were withdrawn by the rule to keep the last ones.
        objects_count: manifests, deltas and packs that were there.
        removed_count: those of them that were removed; with `dry_run`, that would be.
        kept_young_count: those that nothing needs, too young to be removed.
        unused_bytes: dead bytes inside of packs that are needed.
        stopped: it was told to stop before the end.
    """

    dry_run: bool
    releases_count: int = 0
    withdrawn_releases: tuple[str, ...] = ()
    objects_count: int = 0
    removed_count: int = 0
    removed_bytes: int = 0
    kept_young_count: int = 0
    kept_young_bytes: int = 0
    unused_bytes: int = 0
    stopped: bool = False


def sweep(
    store: SignedStore,
    *,
    grace_s: float,
    keep_last_count: int | None = None,
    dry_run: bool = False,
    progress: ProgressHook = ignore_progress,
    stop: Callable[[], bool] = lambda: False,
    now_s: Callable[[], float] = time.monotonic,
) -> SweepReport:
    """Remove manifests, deltas and packs that nothing has needed for the grace period. Blocks.

    Args:
        store: whose clock tells ages.
        grace_s: longer than any publish or pull takes.
        keep_last_count: also withdraw releases, which needs keys, but the last so many of each model, and those that
            channels point at or would after a rollback.
        dry_run: only say what would be done.
        progress: hears how many bytes of garbage are gone.
        stop: asked between removals; True ends the sweep in good order.
        now_s: a clock that does not go back.

    Raises:
        ManifestInvalidError: a manifest cannot be read, so nobody knows what it needs; nothing is removed.
        TrustError: what is signed is refused, or its manifest is missing; nothing is removed.
        KeyUnusableError: releases should be withdrawn, and the keys for that are not here.
        StoreError: the store failed; run it again.
    """
    return _Sweep(store, grace_s, progress, stop, now_s, dry_run=dry_run).run(keep_last_count)


class _Sweep:
    def __init__(
        self,
        store: SignedStore,
        grace_s: float,
        progress: ProgressHook,
        stop: Callable[[], bool],
        now_s: Callable[[], float],
        *,
        dry_run: bool,
    ) -> None:
        self._store = store
        self._grace_s = grace_s
        self._progress = progress
        self._stop = stop
        self._now_s = now_s
        self._dry_run = dry_run
        self._catalog = Catalog(store)
        self._needs: dict[str, Needs] = {}  # by the manifest's key, which has its digest
        self._now_unix_s = _store_time(store)

    def run(self, keep_last_count: int | None) -> SweepReport:
        self._take_away_forgotten()
        withdrawn_releases: tuple[str, ...] = ()
        if keep_last_count is not None:
            withdrawn_releases = tuple(self._withdraw_superseded(keep_last_count))
        needed = self._look()
        lengths: dict[str, int] = {}
        garbage: list[ObjectInfo] = []
        young: list[ObjectInfo] = []
        for info in self._objects():
            lengths[info.key] = info.length_bytes
            if is_garbage(info, needed, now_unix_s=self._now_unix_s, grace_s=self._grace_s):
                garbage.append(info)
            elif is_garbage(info, needed, now_unix_s=self._now_unix_s, grace_s=float("-inf")):
                young.append(info)
        report = SweepReport(
            dry_run=self._dry_run,
            releases_count=len(self._needs),
            withdrawn_releases=withdrawn_releases,
            objects_count=len(lengths),
            removed_count=len(garbage),
            removed_bytes=sum(info.length_bytes for info in garbage),
            kept_young_count=len(young),
            kept_young_bytes=sum(info.length_bytes for info in young),
            unused_bytes=unused_bytes(
                self._needs.values(),
                {key: length for key, length in lengths.items() if key.startswith(PACKS)},
            ),
        )
        if self._dry_run:
            return report
        gone = self._remove(garbage)
        stopped = self._stop()
        report = replace(
            report,
            removed_count=len(gone),
            removed_bytes=sum(info.length_bytes for info in gone),
            stopped=stopped,
        )
        log.info(
            "garbage.removed",
            objects_count=report.removed_count,
            removed_bytes=report.removed_bytes,
            kept_young_bytes=report.kept_young_bytes,
            stopped=stopped,
        )
        return report

    def _objects(self) -> Iterator[ObjectInfo]:
        for prefix in SWEPT:
            yield from self._store.list(prefix)

    def _look(self) -> Needed:
        """Everything that is needed now; manifests that were read before are not read again."""
        # First what is signed, then the manifests: whoever publishes stores a manifest before it is signed.
        said = self._catalog.frozen().statements()
        signed, withdrawn = dict[str, tuple[str, str]](), set[str]()
        for (name, version), release in said.items():
            key = manifest_key(name, version, release.sha256)
            if release.yanked:
                withdrawn.add(key)
            else:
                signed[key] = name, version
        found: dict[str, Needs] = {}
        digests: set[Digest] = set()
        for info in self._store.list(MANIFESTS):
            named = parse_manifest_key(info.key)
            if named is None or not stands(
                info, signed, withdrawn, now_unix_s=self._now_unix_s, grace_s=self._grace_s
            ):
                continue
            needs = self._needs.get(info.key) or self._read(info.key, named[2])
            if needs is not None:
                found[info.key] = needs
                digests.add(named[2])
        for key in signed.keys() - found.keys():
            self._refuse_missing(*signed[key])
        self._needs = found
        needed = {key for needs in found.values() for key in needs.keys}
        return Needed(frozenset(needed | found.keys()), frozenset(digests))

    def _read(self, key: str, digest: Digest) -> Needs | None:
        data = read_bounded(self._store, key, MANIFEST_LIMIT_BYTES)
        if data is None:  # it has just been removed
            return None
        if manifest_digest(data) != digest:
            raise ManifestInvalidError(f"{key} has another digest than its name says; nothing is removed")
        return needs_of(decode_manifest(data))

    def _refuse_missing(self, name: str, version: str) -> None:
        try:
            self._catalog.statement(name, version)
        except (ReleaseUnknownError, ReleaseYankedError):  # withdrawn, and removed by another collection
            return
        raise TrustMissingError(
            f"{name}@{version} is signed, and its manifest is not in the store, so nobody knows what it needs; "
            "copy it from a mirror, or withdraw it with `edgeward yank`; nothing is removed"
        )

    def _remove(self, garbage: list[ObjectInfo]) -> list[ObjectInfo]:
        total_bytes = sum(info.length_bytes for info in garbage)
        gone: list[ObjectInfo] = []
        waiting = list(reversed(garbage))
        while waiting and not self._stop():
            batch = [waiting.pop() for _ in range(min(_BATCH_COUNT, len(waiting)))]
            marked_s = self._now_s()
            mark = condemn(self._store, (info.key for info in batch), secrets.token_hex(8))
            needed = self._look()
            done_bytes = sum(info.length_bytes for info in gone)
            for info in batch:
                late = self._now_s() - marked_s > LEASE_S
                if late or self._stop():
                    break
                if is_garbage(info, needed, now_unix_s=self._now_unix_s, grace_s=self._grace_s):
                    # An error here leaves the mark: nobody knows whether the store still does what was asked.
                    self._store.delete(info.key)
                    gone.append(info)
                    done_bytes += info.length_bytes
                    self._progress(Progress("gc", done_bytes, total_bytes))
            self._store.delete(mark)
        return gone

    def _take_away_forgotten(self) -> None:
        """Remove marks and probes that were left behind by a kill."""
        for info in (*self._store.list(CONDEMNED), *self._store.list(PROBES)):
            if self._now_unix_s - info.modified_unix_s >= FORGOTTEN_S and not self._dry_run:
                log.warning("mark.forgotten", mark=info.key)
                self._store.delete(info.key)

    def _withdraw_superseded(self, keep_last_count: int) -> Iterator[str]:
        catalog = self._catalog.frozen()
        dates = [
            Dated(
                release.name,
                release.version,
                catalog.manifest(release.name, release.version)[1].created_unix_s,
            )
            for release in catalog.releases()
        ]
        channels = catalog.within_reach()
        for release in superseded(dates, channels, keep_last_count=keep_last_count):
            if self._dry_run or self._catalog.yank(release.name, release.version, unless_within_reach=True):
                yield f"{release.name}@{release.version}"


def _store_time(store: ObjectStore) -> float:
    """The store's own clock: ages are told by it, whatever this machine thinks the time is."""
    key = probe_key(secrets.token_hex(8))
    store.put_if_absent(key, b"what time is it?")
    try:
        info = store.head(key)
    finally:
        store.delete(key)
    if info is None:
        raise StoreError("the object store does not have what was just written to it")
    return info.modified_unix_s
