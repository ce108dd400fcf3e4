"""How large a chunk of prompts may be, so that a step of it does not last too long on this machine."""

from __future__ import annotations

# A cancel, a new request and the running answers wait for as long as one chunk takes.
TARGET_S = 1.0
LEAST_TOKENS = 16
_WEIGHT = 0.3  # of the newest sample


class Pace:
    """Chunk sizes from measured steps: a power of two, so that few sizes occur."""

    def __init__(self, limit_tokens: int) -> None:
        self._limit_tokens = limit_tokens
        self._row_s = 0.0

    @property
    def chunk_tokens(self) -> int:
        """The largest chunk that should keep to the target, at most the limit."""
        chunk_tokens = self._limit_tokens
        while chunk_tokens > LEAST_TOKENS and chunk_tokens * self._row_s > TARGET_S:
            chunk_tokens //= 2
        return chunk_tokens

    def note(self, rows_count: int, elapsed_s: float) -> None:
        """A step of prompts took this long; small ones measure the call, not the reading."""
        if rows_count >= LEAST_TOKENS:
            row_s = elapsed_s / rows_count
            self._row_s = row_s if not self._row_s else self._row_s + _WEIGHT * (row_s - self._row_s)
