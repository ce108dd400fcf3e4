"""Kept: a bounded memory of values by key, in which what is used stays and what is not goes."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Two generations of values: when the younger is full it becomes the older, and what nobody asked for is dropped.

    A dictionary look-up each, where an order of last use would cost a list operation for each answer.

    Args:
        generation_count: values in one generation at most.
    """

    def __init__(self, generation_count: int) -> None:
        self._generation_count = generation_count
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._young.keys() | self._old.keys())

    def get(self, key: K) -> V | None:
        """The value, or None."""
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Keep a value, instead of the one that was kept for the key."""
        if len(self._young) >= self._generation_count:
            self._old, self._young = self._young, {}
        self._young[key] = value

    def clear(self) -> None:
        """Forget everything."""
        self._young.clear()
        self._old.clear()
