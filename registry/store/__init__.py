"""ObjectStore: six verbs on keyed bytes, and what each promises.

A key is a relative path from `registry.layout`. Everything but one kind of key is written once and never
changes. Implementations: `s3` (boto3, any S3 endpoint), `memory` (tests), and `retrying` around either.
All calls block; callers in an event loop use a thread. All implementations pass `tests/conformance/test_store.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """What a listing says of an object; the etag is opaque and is what `put_if_match` takes.

    `modified_unix_s` is when its present bytes were written, by the store's own clock.
    """

    key: str
    length_bytes: int
    etag: str
    modified_unix_s: float


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A whole object with the etag it had when it was read."""

    data: bytes
    etag: str


class ObjectStore(Protocol):
    """Keyed bytes with conditional writes.

    Every verb may raise `StoreUnavailableError` (not reachable, throttled) or `StoreError` (refused, with the
    store's own words).
    """

    def get(self, key: str) -> StoredObject:
        """The whole object. Raises ObjectMissingError."""
        ...

    def get_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that range. Raises ObjectMissingError, or StoreError when the object is shorter."""
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """Size and etag; None when there is no such object."""
        ...

    def put_if_absent(self, key: str, data: bytes | bytearray) -> bool:
        """Write an immutable object; False (and nothing written) when the key is taken already."""
        ...

    def put_if_match(self, key: str, data: bytes, etag: str | None) -> str:
        """Replace the object that had this etag (None: there was none); returns the new etag.

        Raises PreconditionFailedError when someone else was quicker.
        """
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with the prefix, by key."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; no error when it is gone already."""
        ...
