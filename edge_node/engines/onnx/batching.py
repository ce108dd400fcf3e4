"""Which texts are computed together: rows of like length, from all requests that wait, each request in its turn."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Rows in one batch differ from the longest by at most this factor and this many tokens: what a row lacks is filled
# up and computed for nothing, but too narrow a window makes batches small (tried: 1.0 to 2; 1.25 was the quickest).
_LIKE_RATIO = 1.25
_LIKE_TOKENS = 4


class Waiting:
    """The rows of one request that are still to compute, by their length.

    Args:
        lengths: tokens of each row.
    """

    __slots__ = ("_indices", "_lengths")

    def __init__(self, lengths: Sequence[int]) -> None:
        order = sorted(range(len(lengths)), key=lambda index: (lengths[index], -index))
        self._lengths = [lengths[index] for index in order]
        self._indices = order

    def __len__(self) -> int:
        return len(self._lengths)

    def longest(self) -> int:
        """The length of the longest row."""
        return self._lengths[-1]

    def take(self, near: int, *, least: int, most: int) -> tuple[int, int] | None:
        """The index and length of the row with the length nearest to `near` within bounds, no longer waiting."""
        if not self._lengths:
            return None
        at = bisect_left(self._lengths, near + 1)
        around = [place for place in (at - 1, at) if 0 <= place < len(self._lengths)]
        place = min(around, key=lambda place: abs(self._lengths[place] - near))
        if not least <= self._lengths[place] <= most:
            return None
        return self._indices.pop(place), self._lengths.pop(place)

    def put_back(self, index: int, length: int) -> None:
        """Let a row wait again."""
        place = bisect_left(self._lengths, length)
        self._lengths.insert(place, length)
        self._indices.insert(place, index)


def take_batch(queue: Sequence[Waiting], *, rows_count: int, batch_tokens: int) -> list[tuple[int, int]]:
    """Take the rows of the next batch out of those that wait.

    The first request gives its longest row; then the requests give in turn, each the row whose length is nearest
    to that one, so that no request's many rows keep another's few out.

    Args:
        queue: the requests, first the one whose turn it is; it has rows.
        rows_count: the most rows of a batch.
        batch_tokens: the most tokens of a batch, padding included; a single longer row still gets its batch.

    Returns:
        Pairs of a place in `queue` and the index of a row there.
    """
    longest = queue[0].longest()
    first = queue[0].take(longest, least=longest, most=longest)
    assert first is not None, "the longest row is there"
    batch, width = [(0, first[0])], longest
    least, most = int(longest / _LIKE_RATIO) - _LIKE_TOKENS, int(longest * _LIKE_RATIO) + _LIKE_TOKENS
    giving = [*range(1, len(queue)), 0]
    while giving and len(batch) < rows_count:
        still = []
        for place in giving:
            room_tokens = batch_tokens // (len(batch) + 1)
            if len(batch) >= rows_count or width > room_tokens:
                return batch
            taken = queue[place].take(longest, least=least, most=min(most, room_tokens))
            if taken is not None:
                batch.append((place, taken[0]))
                width = max(width, taken[1])
                still.append(place)
        giving = still
    return batch
