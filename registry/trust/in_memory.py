"""A store that is signed with keys in memory: for tests and examples."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from registry.store.memory import MemoryStore
from registry.trust import ceremony
from registry.trust.kept import KeptInMemory
from registry.trust.keys import ROOT_FILE, KeysInMemory
from registry.trust.reader import StoreReader
from registry.trust.signed_store import SignedStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from registry.store import ObjectStore
    from registry.trust.keys import Keys


def signed_in_memory(
    store: ObjectStore | None = None,
    *,
    keys: Keys | None = None,
    namespaces: Sequence[str] = ("team",),
    now_unix_s: Callable[[], float] = time.time,
) -> SignedStore:
    """Sign a store, a new one in memory by default, with these keys or with new ones."""
    if keys is None:
        keys = KeysInMemory()
        ceremony.begin(keys, now_unix_s=now_unix_s(), namespaces=namespaces)
    reader = StoreReader(
        MemoryStore() if store is None else store, keys.read(ROOT_FILE), KeptInMemory(), now_unix_s=now_unix_s
    )
    return SignedStore(reader, keys)
