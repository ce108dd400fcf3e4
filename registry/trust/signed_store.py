"""SignedStore: an object store together with the signed metadata that say which of its objects are true."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from registry.errors import KeyUnusableError, TrustRootMissingError
from registry.trust.kept import KeptInDirectory
from registry.trust.keys import ROOT_FILE, KeyDirectory
from registry.trust.publisher import Publisher
from registry.trust.reader import StoreReader
from registry.trust.verification import check_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from registry.store import ObjectInfo, ObjectStore, StoredObject
    from registry.trust.keys import Keys


class SignedStore:
    """An `ObjectStore` around another one; what is true of it is read by `reader` and changed by `publisher`.

    Args:
        reader: of the store's signed metadata; its store is this one.
        keys: to sign with; None only reads.
    """

    def __init__(self, reader: StoreReader, keys: Keys | None = None) -> None:
        self.reader = reader
        self._keys = keys
        self._inner = reader.store

    @property
    def publisher(self) -> Publisher:
        """Whoever signs changes.

        Raises:
            KeyUnusableError: there are no keys to sign with.
        """
        if self._keys is None:
            raise KeyUnusableError("there are no keys here to sign with; store.keys_dir says where they are")
        return Publisher(self.reader, self._keys)

    def over(self, store: ObjectStore) -> SignedStore:
        """The same store and keys, reached through another object, such as one that counts calls."""
        return SignedStore(self.reader.over(store), self._keys)

    def get(self, key: str) -> StoredObject:
        """The whole object."""
        return self._inner.get(key)

    def get_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that range."""
        return self._inner.get_range(key, offset_bytes, length_bytes)

    def head(self, key: str) -> ObjectInfo | None:
        """Size and etag."""
        return self._inner.head(key)

    def put_if_absent(self, key: str, data: bytes | bytearray) -> bool:
        """Write an immutable object."""
        return self._inner.put_if_absent(key, data)

    def put_if_match(self, key: str, data: bytes, etag: str | None) -> str:
        """Replace the object that had this etag."""
        return self._inner.put_if_match(key, data, etag)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with the prefix, by key."""
        return self._inner.list(prefix)

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._inner.delete(key)


def open_signed(
    store: ObjectStore,
    *,
    scope: str,
    keys: KeyDirectory | None,
    trusted_root: Path | None,
    kept_dir: Path,
    now_unix_s: Callable[[], float] = time.time,
) -> SignedStore:
    """A store with its trust, as settings say.

    Args:
        store: the objects.
        scope: which store this is, since the same keys may serve several.
        keys: to sign with; None only reads.
        trusted_root: the file of the first root; None takes the one beside the keys.
        kept_dir: where what was verified is remembered.
        now_unix_s: the wall clock.

    Raises:
        TrustRootMissingError: there is no root to trust.
        TrustTamperedError: what is there is none.
    """
    pin = read_pin(trusted_root or (keys.directory / ROOT_FILE if keys is not None else None))
    reader = StoreReader(store, pin, KeptInDirectory(kept_dir, pin, scope), now_unix_s=now_unix_s)
    return SignedStore(reader, keys)


def read_pin(path: Path | None) -> bytes:
    """The bytes of the root that is trusted to begin with.

    Raises:
        TrustRootMissingError: there is none.
        TrustTamperedError: what is there is none.
    """
    if path is None:
        raise TrustRootMissingError("no setting names a trusted root; `edgeward keys init` makes one")
    try:
        pin = path.read_bytes()
    except OSError as error:
        raise TrustRootMissingError(
            f"the trusted root {path} cannot be read ({error.strerror}): `edgeward keys init` makes one where models "
            "are published from; copy its root.json to every machine that shall trust it"
        ) from error
    check_root(pin)
    return pin
