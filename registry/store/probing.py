"""Proof, before anything depends on it, that a store really does conditional writes."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from registry.errors import PreconditionFailedError, StoreError
from registry.layout import probe_key

if TYPE_CHECKING:
    from registry.store import ObjectStore

_REFUSAL = (
    "the object store ignores {header}: two publishers could overwrite each other's releases. "
    "Use a store with conditional writes (AWS S3, R2, MinIO, Ceph, SeaweedFS), in a version that has them"
)


def probe_conditional_writes(store: ObjectStore) -> None:
    """Try both kinds of conditional write on a key of its own, which is removed again.

    Raises:
        StoreError: the store ignores a condition, or (as its own kinds) cannot be reached or written.
    """
    key = probe_key(secrets.token_hex(8))
    try:
        # Nobody else writes this key: refused here means that the answer to our own first try was lost.
        store.put_if_absent(key, b"first")
        if store.put_if_absent(key, b"second"):
            raise StoreError(_REFUSAL.format(header="If-None-Match"))
        stored = store.get(key)
        if stored.data != b"first":
            raise StoreError(_REFUSAL.format(header="If-None-Match"))
        current = _replaced(store, key, b"third", stored.etag)
        for stale in (stored.etag, None):
            try:
                store.put_if_match(key, b"fourth", stale)
            except PreconditionFailedError:
                continue
            raise StoreError(_REFUSAL.format(header="If-Match" if stale else "If-None-Match"))
        if store.get(key).etag != current:
            raise StoreError(
                "the object store does not return the etag of what it wrote; Edgeward cannot use it"
            )
    finally:
        store.delete(key)


def _replaced(store: ObjectStore, key: str, data: bytes, etag: str) -> str:
    try:
        return store.put_if_match(key, data, etag)
    except PreconditionFailedError:
        stored = store.get(key)
        if stored.data != data:
            raise
        return stored.etag
