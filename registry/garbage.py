"""Garbage: which objects of the store nothing needs any more, decided from what was read of it.

A manifest stands while it is signed; one that was withdrawn, for the grace period since; one that nobody signed, for a
day at least, since someone may be about to sign it. Packs are needed by the manifests that stand and name them, deltas
by those that they lead to. What is not needed is garbage once it was written longer ago than the grace period.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from registry.layout import (
    DELTAS,
    MANIFESTS,
    PACKS,
    is_pack_key,
    pack_key,
    parse_delta_key,
    parse_manifest_key,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from registry.digest import Digest
    from registry.manifest import Manifest
    from registry.store import ObjectInfo

SWEPT = (MANIFESTS, DELTAS, PACKS)
"""Where garbage is looked for, and in which order it goes."""
UNSIGNED_S = 86_400.0
"""How long a manifest that nobody signed stands at least; no publisher takes so long from storing it to signing it."""


class Needs(NamedTuple):
    """What one manifest needs of the store: whole objects, and in them stretches of so many bytes."""

    keys: frozenset[str]
    stretches: frozenset[tuple[str, int, int]]


class Needed(NamedTuple):
    """All that is needed: manifests and packs by key, and the digests of those manifests."""

    keys: frozenset[str]
    manifests: frozenset[Digest]


class Dated(NamedTuple):
    """A release, and when it was published."""

    name: str
    version: str
    created_unix_s: int


def needs_of(manifest: Manifest) -> Needs:
    """The objects without which a release cannot be fetched."""
    keys = [pack_key(pack.digest) for pack in manifest.packs]
    return Needs(
        frozenset(keys),
        frozenset((keys[chunk.pack], chunk.offset_bytes, chunk.stored_bytes) for chunk in manifest.chunks),
    )


def stands(
    found: ObjectInfo,
    signed: Collection[str],
    withdrawn: Collection[str],
    *,
    now_unix_s: float,
    grace_s: float,
) -> bool:
    """Whether what a manifest names is needed.

    Args:
        found: the manifest.
        signed: keys of manifests that are signed.
        withdrawn: keys of those that were, and are not any more.
        now_unix_s: by the store's clock.
        grace_s: how long what was withdrawn stands.
    """
    if found.key in signed:
        return True
    limit_s = grace_s if found.key in withdrawn else max(grace_s, UNSIGNED_S)
    return now_unix_s - found.modified_unix_s < limit_s


def is_garbage(found: ObjectInfo, needed: Needed, *, now_unix_s: float, grace_s: float) -> bool:
    """Whether an object may be removed; objects of a kind that is not known here never are."""
    if now_unix_s - found.modified_unix_s < grace_s:
        return False
    if is_pack_key(found.key) or parse_manifest_key(found.key) is not None:
        return found.key not in needed.keys
    delta = parse_delta_key(found.key)
    return delta is not None and delta[0] not in needed.manifests


def unused_bytes(needs: Iterable[Needs], lengths_bytes: Mapping[str, int]) -> int:
    """How much of the packs that are needed belongs to chunks that are not."""
    used: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for need in needs:
        for key, offset_bytes, length_bytes in need.stretches:
            used[key].add((offset_bytes, length_bytes))
    return sum(
        lengths_bytes.get(key, 0) - sum(length for _, length in stretches)
        for key, stretches in used.items()
        if key in lengths_bytes
    )


def superseded(
    releases: Iterable[Dated], channels: Mapping[str, Collection[str]], *, keep_last_count: int
) -> tuple[Dated, ...]:
    """The releases that are neither among the latest of their model nor within reach of one of its channels.

    Args:
        releases: all of them.
        channels: for each model the versions that channels point at, and would after a rollback.
        keep_last_count: how many of each model stay in any case.
    """
    by_name: dict[str, list[Dated]] = defaultdict(list)
    for release in releases:
        by_name[release.name].append(release)
    found: list[Dated] = []
    for name, versions in sorted(by_name.items()):
        versions.sort(key=lambda it: (-it.created_unix_s, it.version))
        old = versions[max(0, keep_last_count) :]
        found += [release for release in old if release.version not in channels.get(name, ())]
    return tuple(found)
