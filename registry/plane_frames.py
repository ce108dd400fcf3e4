"""A plane as zstd frames, by whichever of two settings suits it.

Entropy coding is all that pays on most planes, and the search for repetitions that zstd does first makes it worse:
it finds some by chance, and writes them for more than they save. Planes of scales and exponents come out smaller
without, and sooner. So the start of a plane is tried without, and what comes out small is tried with a search as well,
and the best one takes it all. Mantissas, which do not get small, have nothing to find. What is chosen depends on
nothing but the plane, so that the same file makes the same packs.
"""

from __future__ import annotations

import zstandard

_SEARCHED_LEVEL = 1
_TRIED_BYTES = 16 * 1024
_WORTH_SEARCHING = 0.7
# A hash of 64 places and repetitions of 7 bytes at least: runs are found, and little else.
_UNSEARCHED = {
    "window_log": 17,
    "hash_log": 6,
    "chain_log": 6,
    "search_log": 1,
    "min_match": 7,
    "target_length": 0,
    "strategy": zstandard.STRATEGY_FAST,
}


class FramePacker:
    """Makes frames that do not declare their lengths. It has some MiB of memory, and serves one thread."""

    def __init__(self) -> None:
        unsearched = zstandard.ZstdCompressionParameters(write_content_size=False, **_UNSEARCHED)
        self._unsearched = zstandard.ZstdCompressor(compression_params=unsearched)
        self._searched = zstandard.ZstdCompressor(level=_SEARCHED_LEVEL, write_content_size=False)

    def frames(self, content: memoryview, part_bytes: int, *, is_wide: bool) -> list[bytes]:
        """The frames of a plane, one for each part.

        Args:
            content: the plane.
            part_bytes: of every part but the last.
            is_wide: whether it has several bytes for each block: quants, where a search costs little and seldom finds.
        """
        first = content[: min(part_bytes, _TRIED_BYTES)]
        best, frames = self._searched, []
        if not is_wide or len(first) < _TRIED_BYTES:
            best, frame = self._better(first)
            frames = [frame] if content and len(first) == min(part_bytes, len(content)) else []
        start = part_bytes * len(frames)
        return frames + [
            best.compress(content[at : at + part_bytes]) for at in range(start, len(content), part_bytes)
        ]

    def _better(self, first: memoryview) -> tuple[zstandard.ZstdCompressor, bytes]:
        """What makes less of the start of a plane, and what it makes of it."""
        frame = self._unsearched.compress(first)
        if len(frame) < _WORTH_SEARCHING * len(first):
            searched = self._searched.compress(first)
            if len(searched) < len(frame):
                return self._searched, searched
        return self._unsearched, frame
