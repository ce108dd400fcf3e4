"""Rewriting: an object gets the bytes that it has, or should have, so that its age begins anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.errors import ObjectMissingError, PreconditionFailedError, StoreError

if TYPE_CHECKING:
    from registry.store import ObjectStore

_TRIES_COUNT = 4


def write_anew(store: ObjectStore, key: str, data: bytes) -> None:
    """Write an object, whether it is there or not.

    Raises:
        StoreError: the store failed, or others kept writing.
    """
    for _ in range(_TRIES_COUNT):
        before = store.head(key)
        try:
            store.put_if_match(key, data, None if before is None else before.etag)
        except PreconditionFailedError:
            # Written just now by another, or by our own first try, whose answer was lost.
            if not _has(store, key, data):
                continue
        return
    raise StoreError(f"{key} was written by others {_TRIES_COUNT} times in a row; try again")


def _has(store: ObjectStore, key: str, data: bytes) -> bool:
    try:
        return store.get(key).data == data
    except ObjectMissingError:
        return False


def write_again(store: ObjectStore, key: str) -> None:
    """Write an object as it is; nothing if it is not there.

    Raises:
        StoreError: the store failed.
    """
    try:
        stored = store.get(key)
        store.put_if_match(key, stored.data, stored.etag)
    except (ObjectMissingError, PreconditionFailedError):
        return  # it is gone, or someone else has just written it
