"""Removal: a release is taken out of the catalog; its packs stay for the grace period of `gc`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from registry.catalog import Catalog
from registry.errors import ReleaseConflictError
from registry.layout import manifest_key, removed_key

if TYPE_CHECKING:
    from registry.store import ObjectStore

log = structlog.get_logger()


def remove_release(store: ObjectStore, name: str, version: str) -> None:
    """Remove a release. Pulls of it that are going on can finish within the grace period.

    Raises:
        ReleaseUnknownError: there is no such release.
        ReleaseConflictError: a channel points at it.
    """
    catalog = Catalog(store)
    data, _ = catalog.manifest(name, version)
    _refuse_if_used(catalog, name, version)
    kept = removed_key(name, version)
    before = store.head(kept)
    # The copy is there before the release goes, so that at every moment one of the two says what is needed.
    store.put_if_match(kept, data, None if before is None else before.etag)
    store.delete(manifest_key(name, version))
    try:
        _refuse_if_used(catalog, name, version)
    except ReleaseConflictError:
        store.put_if_absent(manifest_key(name, version), data)  # someone has promoted it meanwhile
        raise
    log.info("release.withdrawn", release=f"{name}@{version}")


def _refuse_if_used(catalog: Catalog, name: str, version: str) -> None:
    channels = sorted(channel for channel, target in catalog.channels(name).items() if target == version)
    if channels:
        raise ReleaseConflictError(
            f"{name}@{version} is what {', '.join(f'{name}:{channel}' for channel in channels)} points at; "
            f"point it elsewhere first: edgeward promote {name}@VERSION --channel {channels[0]}"
        )
