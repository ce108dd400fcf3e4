"""Where extents lie, said by how far they are from where one would expect them: almost always exactly there.

Pieces come by their first byte, so a piece begins where the bytes of its file are covered up to; an extent after the
first begins where the one before it ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.chunking import Extent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class Frontiers:
    """For each file the first byte that no extent so far covers."""

    def __init__(self, files_count: int) -> None:
        self._ends = [0] * files_count
        self._ahead: list[dict[int, int]] = [{} for _ in range(files_count)]

    def gaps(self, file: int, extents: Iterable[Extent]) -> Iterator[int]:
        """How far each extent of the next piece is from where it is expected."""
        expected = self.first(file)
        for extent in extents:
            yield extent.offset_bytes - expected
            expected = self.cover(file, extent)

    def first(self, file: int) -> int:
        """Where the next piece of a file is expected; 0 for a file that is not there."""
        return self._ends[file] if 0 <= file < len(self._ends) else 0

    def cover(self, file: int, extent: Extent) -> int:
        """Take note of an extent; returns its end."""
        end = extent.offset_bytes + extent.length_bytes
        if 0 <= file < len(self._ends) and extent.length_bytes > 0:
            ahead = self._ahead[file]
            ahead[extent.offset_bytes] = end
            while self._ends[file] in ahead:
                self._ends[file] = ahead.pop(self._ends[file])
        return end


def place_extents(
    files: Sequence[int], counts: Sequence[int], gaps: Iterable[int], lengths: Iterable[int], files_count: int
) -> list[tuple[Extent, ...]]:
    """The extents of each piece: the inverse of `Frontiers.gaps`. Nothing is checked but what cannot be computed."""
    frontiers = Frontiers(files_count)
    stretches = zip(gaps, lengths, strict=True)
    places = []
    for file, count in zip(files, counts, strict=True):
        expected = frontiers.first(file)
        extents = []
        for _ in range(count):
            gap, length = next(stretches)
            extents.append(Extent(expected + gap, length))
            expected = frontiers.cover(file, extents[-1])
        places.append(tuple(extents))
    return places
