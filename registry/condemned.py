"""Condemned: objects that a garbage collection is about to remove, so that whoever publishes can see it.

A collection writes the mark before it looks for the last time whether anyone needs the packs, and takes it away after
the last removal. A publisher stores its manifest before it looks for marks. So at least one of the two sees the
other: the argument of E. W. Dijkstra's and T. J. Dekker's mutual exclusion ("Cooperating Sequential Processes", 1965).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from registry import wire
from registry.errors import InputInvalidError, ObjectMissingError, StoreError
from registry.layout import CONDEMNED, condemned_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.store import ObjectStore

_SCHEMA = 1


class _Mark(Struct, frozen=True):
    schema: Annotated[int, Meta(ge=_SCHEMA, le=_SCHEMA)]
    keys: tuple[str, ...]


def condemn(store: ObjectStore, keys: Iterable[str], nonce: str) -> str:
    """Write a mark for these objects; its key. `nonce` is new for each."""
    key = condemned_key(nonce)
    if not store.put_if_absent(key, wire.to_msgpack(_Mark(_SCHEMA, tuple(keys)))):
        raise StoreError(f"a mark of a garbage collection has the name {key} already; collect again")
    return key


def condemned_keys(store: ObjectStore) -> frozenset[str]:
    """All objects that are being removed now.

    Raises:
        StoreError: a mark cannot be read.
    """
    found: set[str] = set()
    for info in store.list(CONDEMNED):
        try:
            found.update(wire.from_msgpack(store.get(info.key).data, _Mark).keys)
        except ObjectMissingError:  # its collection has just ended
            continue
        except InputInvalidError as error:
            raise StoreError(
                f"{info.key} is no mark of a garbage collection that is known here: {error.message}; update Edgeward"
            ) from error
    return frozenset(found)
