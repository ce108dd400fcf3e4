"""Garbage: which objects of the store nothing needs any more, decided from what was read of it.

A pack is garbage when no release names it, no release that was removed less than the grace period ago does, and it was
written longer ago than the grace period: someone may be about to name it.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from registry.layout import PACKS, is_pack_key, pack_key

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from registry.manifest import Manifest
    from registry.store import ObjectInfo

SWEPT = (PACKS,)
"""Where garbage is looked for."""


class Needs(NamedTuple):
    """What one manifest needs of the store: whole objects, and in them stretches of so many bytes."""

    keys: frozenset[str]
    stretches: frozenset[tuple[str, int, int]]


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


def is_garbage(found: ObjectInfo, needed: Collection[str], *, now_unix_s: float, grace_s: float) -> bool:
    """Whether an object may be removed; objects of a kind that is not known here never are."""
    known = is_pack_key(found.key)
    return known and found.key not in needed and now_unix_s - found.modified_unix_s >= grace_s


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
    """The releases that are neither among the latest of their model nor where one of its channels points.

    Args:
        releases: all of them.
        channels: for each model the versions that channels point at.
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
