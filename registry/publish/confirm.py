"""Confirm: a release whose manifest is stored really has all that it needs, and no garbage collection takes it away.

A publish uses packs that are there already, and may take longer than any grace period. So after its manifest is stored,
and before it is signed, everything is looked at once more (`registry.condemned` has the reason why that is enough).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from registry.condemned import condemned_keys
from registry.errors import StoreError
from registry.garbage import needs_of
from registry.layout import manifest_key
from registry.manifest import encode_manifest, manifest_digest
from registry.store.rewriting import write_anew

if TYPE_CHECKING:
    from collections.abc import Callable

    from registry.manifest import Manifest
    from registry.store import ObjectStore

log = structlog.get_logger()

_TRIES_COUNT = 4
_POLL_S = 1.0
_PATIENCE_S = 120.0


def settle(
    store: ObjectStore, data: bytes, manifest: Manifest, remake: Callable[[], Manifest]
) -> tuple[bytes, Manifest]:
    """The manifest of a release that is whole, just written; it is made again if something that it needs was removed.

    It must be signed within a day (`registry.garbage.UNSIGNED_S`).

    Args:
        store: where it is.
        data: the manifest, as it is stored.
        manifest: the same, read.
        remake: stores what is missing and describes the release anew.

    Raises:
        StoreError: a garbage collection keeps removing what the release needs; publish again.
    """
    for _ in range(_TRIES_COUNT):
        # Anew even if it is there: an earlier publish may have left it, and its age must begin now.
        write_anew(store, _key(data, manifest), data)
        if is_whole(store, data, manifest):
            return data, manifest
        log.warning("release.found_broken", release=f"{manifest.name}@{manifest.version}")
        manifest = remake()
        data = encode_manifest(manifest)
    raise StoreError(
        f"what {manifest.name}@{manifest.version} needs is removed again and again by garbage collections; "
        "publish again when they are through"
    )


def mend(store: ObjectStore, data: bytes, manifest: Manifest, remake: Callable[[], Manifest]) -> None:
    """Store what a signed release has lost, as far as that can be made again.

    Raises:
        StoreError: some of its packs had other releases' chunks as well, so they cannot be made from its files.
    """
    if is_whole(store, data, manifest):
        return
    log.warning("release.found_broken", release=f"{manifest.name}@{manifest.version}")
    remake()
    write_anew(store, _key(data, manifest), data)
    if not is_whole(store, data, manifest):
        raise StoreError(
            f"the store has lost packs of {manifest.name}@{manifest.version} that its files alone do not make "
            "again; publish it under a new version, and withdraw this one with `edgeward yank`"
        )


def _key(data: bytes, manifest: Manifest) -> str:
    return manifest_key(manifest.name, manifest.version, manifest_digest(data))


def is_whole(store: ObjectStore, data: bytes, manifest: Manifest) -> bool:
    """Whether the manifest and all that it needs is there, and no garbage collection is about to remove it.

    Raises:
        StoreError: a garbage collection takes too long.
    """
    needed = needs_of(manifest).keys | {_key(data, manifest)}
    began_s = time.monotonic()
    while needed & condemned_keys(store):
        # The collection has seen the manifest and will leave these packs alone, or it has not and removes them:
        # when its mark is gone, it is known which.
        if time.monotonic() - began_s > _PATIENCE_S:
            raise StoreError(
                f"a garbage collection has been removing packs that {manifest.name}@{manifest.version} needs for "
                f"{_PATIENCE_S:.0f} s; publish again when it is through (a mark that a collection left behind when it "
                "was killed is taken away by the next one after an hour)"
            )
        time.sleep(_POLL_S)
    return all(store.head(key) is not None for key in sorted(needed))
