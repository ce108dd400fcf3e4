"""RetryingStore: any store, with calls that may succeed later tried again."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

import structlog

from registry.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registry.store import ObjectInfo, ObjectStore, StoredObject

T = TypeVar("T")
log = structlog.get_logger()


class RetryingStore:
    """An `ObjectStore` around another one: errors with `retry == "later"` are tried again.

    The pause before try n is drawn from 0 to `first_delay_s` * 2**n (full jitter: AWS Architecture Blog,
    "Exponential Backoff And Jitter"), at most `delay_limit_s`, and no shorter than the store asked for.
    A conditional write whose answer was lost may find its own bytes on the next try; callers handle that
    as they handle another writer.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        tries_count: int = 5,
        first_delay_s: float = 0.1,
        delay_limit_s: float = 5.0,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Wrap a store.

        Args:
            store: the one that does the work.
            tries_count: how often a call is made at most.
            first_delay_s: upper bound of the first pause.
            delay_limit_s: upper bound of every pause.
            sleep: pauses this thread.
            chance: a number from 0 to 1.
        """
        self._store = store
        self._tries_count = tries_count
        self._first_delay_s = first_delay_s
        self._delay_limit_s = delay_limit_s
        self._sleep = sleep
        self._chance = chance

    def get(self, key: str) -> StoredObject:
        """The whole object."""
        return self._try(lambda: self._store.get(key), "get")

    def get_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that range."""
        return self._try(lambda: self._store.get_range(key, offset_bytes, length_bytes), "get_range")

    def head(self, key: str) -> ObjectInfo | None:
        """Size and etag."""
        return self._try(lambda: self._store.head(key), "head")

    def put_if_absent(self, key: str, data: bytes | bytearray) -> bool:
        """Write an immutable object."""
        return self._try(lambda: self._store.put_if_absent(key, data), "put_if_absent")

    def put_if_match(self, key: str, data: bytes, etag: str | None) -> str:
        """Replace the object that had this etag."""
        return self._try(lambda: self._store.put_if_match(key, data, etag), "put_if_match")

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with the prefix, by key; the listing is whole before the first."""
        yield from self._try(lambda: tuple(self._store.list(prefix)), "list")

    def delete(self, key: str) -> None:
        """Remove an object."""
        self._try(lambda: self._store.delete(key), "delete")

    def _try(self, call: Callable[[], T], verb: str) -> T:
        for number in range(self._tries_count - 1):
            try:
                return call()
            except StoreError as error:
                if error.retry != "later":
                    raise
                bound_s = min(self._first_delay_s * 2**number, self._delay_limit_s)
                delay_s = max(bound_s * self._chance(), error.retry_after_s or 0.0)
                log.info(
                    "store_call.retried", verb=verb, code=error.code, error=error.message, delay_s=delay_s
                )
            self._sleep(delay_s)
        return call()
