"""Confirm: a release whose manifest is stored really has all that it needs, and no garbage collection takes it away.

A publish uses packs that are there already, and may take longer than any grace period. So after its manifest is stored,
and before it is acknowledged or a channel points at it, everything is looked at once more (`registry.condemned` has
the reason why that is enough).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import structlog

from registry.condemned import condemned_keys
from registry.errors import ObjectMissingError, PreconditionFailedError, StoreError
from registry.garbage import needs_of
from registry.layout import manifest_key
from registry.manifest import decode_manifest, encode_manifest

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
    """The manifest of a stored release that is whole; it is made again if something that it needs was removed.

    Args:
        store: where it is.
        data: the manifest, as it was stored.
        manifest: the same, read.
        remake: stores what is missing and describes the release anew.

    Raises:
        StoreError: a garbage collection keeps removing what the release needs; publish again.
    """
    key = manifest_key(manifest.name, manifest.version)
    for _ in range(_TRIES_COUNT):
        if _is_whole(store, manifest):
            return data, manifest
        log.warning("release.found_broken", release=f"{manifest.name}@{manifest.version}")
        try:
            stored = store.get(key)
            etag: str | None = stored.etag
        except ObjectMissingError:
            stored, etag = None, None
        if stored is not None and stored.data != data:  # another publisher has mended it
            data, manifest = stored.data, decode_manifest(stored.data)
            continue
        manifest = remake()
        data = encode_manifest(manifest)
        try:
            store.put_if_match(key, data, etag)
        except PreconditionFailedError:
            data = store.get(key).data
            manifest = decode_manifest(data)
    raise StoreError(
        f"what {manifest.name}@{manifest.version} needs is removed again and again by garbage collections; "
        "publish again when they are through"
    )


def _is_whole(store: ObjectStore, manifest: Manifest) -> bool:
    needed = needs_of(manifest).keys
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
