"""Releases: what the object store holds, as this origin last read it, and the bytes that nodes fetch.

The view is refreshed in the background. While the store is away the last view goes on being served, and
`problem` says since when and why. Manifests and packs never change, so what was read once stays true.
"""

from __future__ import annotations

import asyncio
import fnmatch
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from origin.api import CatalogAnswer, ReleaseSummary, VariantSummary, WantedRelease
from origin.blocking import BlockingCalls
from registry.catalog import Catalog
from registry.digest import digest_of
from registry.errors import (
    ArtifactError,
    ObjectMissingError,
    ReleaseUnknownError,
    ReleaseYankedError,
    StoreUnavailableError,
    TrustError,
)
from registry.layout import is_delta_key, is_pack_key
from registry.manifest import manifest_digest
from registry.trust.statements import role_of
from registry.works import problem_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from origin.api import NodeReport
    from registry.digest import Digest
    from registry.manifest import Manifest
    from registry.store import ObjectStore
    from registry.trust.signed_store import SignedStore

log = structlog.get_logger()

_MANIFESTS_KEPT_BYTES = 64 * 2**20
_LENGTHS_KEPT_COUNT = 65_536
_READS_AT_ONCE_COUNT = 8
_SILENCE_S = 10.0

ReleaseKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest as it is stored: `sha256` is that of these bytes, `manifest_sha256` the digest that names it."""

    data: bytes
    sha256: Digest
    manifest_sha256: Digest


class Releases:
    """The catalog as this origin last read it.

    Attributes:
        view: the releases and channels; None when they could never be read.

    Args:
        store: where releases are; its calls block and run in threads.
        refresh_s: how often to look.
        now_s: a clock that does not go back.
    """

    def __init__(self, store: SignedStore, *, refresh_s: float, now_s: Callable[[], float]) -> None:
        self._catalog = Catalog(store)
        self._calls = BlockingCalls(_READS_AT_ONCE_COUNT)
        self._refresh_s = refresh_s
        self._now_s = now_s
        self._read_s: float | None = None
        self._summaries: dict[ReleaseKey, ReleaseSummary] = {}
        self._broken: set[tuple[ReleaseKey, Digest]] = set()
        self._manifests: OrderedDict[ReleaseKey, StoredManifest] = OrderedDict()
        self._manifests_bytes = 0
        self._problem = "not read yet"
        self.view: CatalogAnswer | None = None

    @property
    def age_s(self) -> float | None:
        """How old the view is; None when the catalog could never be read."""
        return None if self._read_s is None else self._now_s() - self._read_s

    @property
    def problem(self) -> str:
        """Why the view is not fresh: the last look failed, or takes very long; "" when it is."""
        age_s = self.age_s
        if not self._problem and age_s is not None and age_s > max(_SILENCE_S, 5 * self._refresh_s):
            return f"the object store has not answered for {age_s:.0f} s"
        return self._problem

    def known(self) -> CatalogAnswer:
        """The view.

        Raises:
            StoreUnavailableError: the catalog could never be read.
        """
        if self.view is None:
            raise StoreUnavailableError(
                f"the origin has not been able to read its object store yet: {self.problem}",
                retry_after_s=self._refresh_s,
            )
        return self.view

    async def keep_fresh(self) -> None:
        """Refresh for ever; a failure is remembered in `problem` and tried again."""
        while True:
            problem = await problem_of("catalog", self.refresh)
            if problem:
                self._note_problem(problem)
            await asyncio.sleep(self._refresh_s)

    async def refresh(self) -> None:
        """Read the catalog now.

        Raises:
            StoreError: the store is away or refused.
        """
        view, self._summaries = await self._calls.run(self._read)
        if self._problem:
            log.info("catalog.read", releases_count=len(view.releases), models_count=len(view.channels))
        self.view, self._read_s, self._problem = view, self._now_s(), ""

    def wanted(self, report: NodeReport) -> tuple[WantedRelease, ...] | None:
        """What a node should hold, by its patterns and its channel; None when the catalog could never be read."""
        if self.view is None:
            return None
        wanted = []
        for name, channels in sorted(self.view.channels.items()):
            version = channels.get(report.channel)
            summary = self._summaries.get((name, version)) if version is not None else None
            if summary is not None and any(fnmatch.fnmatchcase(name, pattern) for pattern in report.follows):
                wanted.append(WantedRelease(name, summary.version, summary.manifest_sha256))
        return tuple(wanted)

    async def manifest(self, name: str, version: str) -> StoredManifest:
        """A release's manifest, from memory or the store.

        Raises:
            ReleaseUnknownError: no such release.
            TrustError: what is stored is not what was signed.
        """
        key = name, version
        summary = self._summaries.get(key)
        kept = self._manifests.get(key)
        # What is signed decides, as it was at the last look; a name and a version alone promise nothing.
        if kept is not None and (summary is None or summary.manifest_sha256 == kept.manifest_sha256):
            self._manifests.move_to_end(key)
            return kept
        data, _ = await self._calls.run(self._catalog.manifest, name, version)
        stored = StoredManifest(data, digest_of(data), manifest_digest(data))
        self._drop(key)
        self._keep(key, stored)
        return stored

    def _read(self) -> tuple[CatalogAnswer, dict[ReleaseKey, ReleaseSummary]]:
        """The catalog from the store; runs in a thread, one at a time."""
        catalog = self._catalog.frozen()
        keys = {(release.name, release.version) for release in catalog.releases()}
        before = self.view.channels if self.view is not None else {}
        channels = catalog.all_channels()
        for role, problem in catalog.problems().items():
            log.warning("publisher.refused", role=role, problem=problem.message)
            # What its publisher said last stands; the others move on.
            keys |= {key for key in self._summaries if role_of(key[0]) == role}
            channels |= {name: dict(said) for name, said in before.items() if role_of(name) == role}
        channels |= {name: {} for name, _ in keys if name not in channels}
        keys |= {(name, version) for name, pointers in channels.items() for version in pointers.values()}
        summaries = {
            key: summary for key in sorted(keys) if (summary := self._summary(catalog, key)) is not None
        }
        for name, pointers in channels.items():
            for channel, version in list(pointers.items()):
                if (name, version) in summaries:
                    continue
                # A channel that points at nothing readable leaves nodes on what they have.
                last = before.get(name, {}).get(channel)
                if last is not None and (name, last) in summaries:
                    pointers[channel] = last
                else:
                    del pointers[channel]
        return CatalogAnswer(
            releases=tuple(summaries.values()), channels=dict(sorted(channels.items()))
        ), summaries

    def _summary(self, catalog: Catalog, key: ReleaseKey) -> ReleaseSummary | None:
        known = self._summaries.get(key)
        try:
            said = catalog.statement(*key).sha256
            if known is not None and known.manifest_sha256 == said:
                return known
            if (key, said) in self._broken:
                return None
            data, manifest = catalog.manifest(*key)
        except (ArtifactError, ReleaseUnknownError, ReleaseYankedError, TrustError) as error:
            if known is not None and role_of(key[0]) in catalog.problems():
                return known  # what its publisher said last
            log.warning("release.found_broken", name=key[0], version=key[1], problem=error.message)
            if isinstance(error, ArtifactError):  # these bytes never change; missing ones may yet appear
                self._broken.add((key, said))
            return None
        return _summarized(manifest, manifest_digest(data))

    def _drop(self, key: ReleaseKey) -> None:
        dropped = self._manifests.pop(key, None)
        self._manifests_bytes -= len(dropped.data) if dropped is not None else 0

    def _keep(self, key: ReleaseKey, manifest: StoredManifest) -> None:
        self._manifests[key] = manifest
        self._manifests_bytes += len(manifest.data)
        while len(self._manifests) > 1 and self._manifests_bytes > _MANIFESTS_KEPT_BYTES:
            _, dropped = self._manifests.popitem(last=False)
            self._manifests_bytes -= len(dropped.data)

    def _note_problem(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("catalog.refresh_failed", problem=problem, age_s=self.age_s)
        self._problem = problem


class Blobs:
    """Ranges of packs and deltas, read from the store in threads, a bounded number of them at once."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._lengths: OrderedDict[str, int] = OrderedDict()
        self._calls = BlockingCalls(_READS_AT_ONCE_COUNT)

    async def length_bytes(self, key: str) -> int:
        """The length of a pack or a delta.

        Raises:
            ObjectMissingError: no such object, or the key is neither's.
        """
        known = self._lengths.get(key)
        if known is not None:
            return known
        served = is_pack_key(key) or is_delta_key(key)
        info = await self._calls.run(self._store.head, key) if served else None
        if info is None:
            raise ObjectMissingError(f"there is no pack {key[:200]!r} (packs are named packs/ab/<sha256>)")
        self._lengths[key] = info.length_bytes
        if len(self._lengths) > _LENGTHS_KEPT_COUNT:
            self._lengths.popitem(last=False)
        return info.length_bytes

    async def read(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that range of a pack or a delta."""
        return await self._calls.run(self._store.get_range, key, offset_bytes, length_bytes)


def _summarized(manifest: Manifest, sha256: Digest) -> ReleaseSummary:
    return ReleaseSummary(
        name=manifest.name,
        version=manifest.version,
        kind=manifest.kind,
        architecture=manifest.architecture,
        quantization=manifest.quantization,
        total_bytes=manifest.total_bytes,
        stored_bytes=manifest.stored_bytes,
        manifest_sha256=sha256,
        created_unix_s=manifest.created_unix_s,
        variants=tuple(
            VariantSummary(
                name=variant.name,
                kind=variant.kind,
                quantization=variant.quantization,
                total_bytes=variant.total_bytes,
                memory_bytes=variant.needs.memory_bytes if variant.needs else 0,
                features=variant.needs.features if variant.needs else (),
                space_id=variant.space_id,
            )
            for variant in manifest.variants
        ),
    )
