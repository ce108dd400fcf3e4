"""From the bytes of tokens to text: whole characters only, cut exactly before the first stop string."""

from __future__ import annotations

import codecs


class TextAssembler:
    """The text of one answer, fed token by token.

    The first stop string to be complete ends the text; of several that end at the same character, the one that
    begins first. The result does not depend on how the bytes were split. Bytes that are no UTF-8 become U+FFFD;
    a character left unfinished at the end is dropped.
    """

    def __init__(self, stop: tuple[str, ...] = ()) -> None:
        self._stop = tuple(string for string in stop if string)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""  # may be the beginning of a stop string
        self.stopped = False

    def push(self, piece: bytes) -> str:
        """The text that is certain after this piece; empty once `stopped`."""
        if self.stopped:
            return ""
        text = self._held + self._decoder.decode(piece)
        cut = self._first_stop(text)
        if cut is not None:
            self.stopped = True
            self._held = ""
            return text[:cut]
        held_count = self._possible_stop_count(text)
        self._held = text[len(text) - held_count :]
        return text[: len(text) - held_count]

    def finish(self) -> str:
        """What was held back, at an end that no stop string made."""
        held, self._held = self._held, ""
        return held

    def _first_stop(self, text: str) -> int | None:
        """Where the stop string that is complete first begins."""
        found = [(at + len(string), at) for string in self._stop if (at := text.find(string)) >= 0]
        return min(found)[1] if found else None

    def _possible_stop_count(self, text: str) -> int:
        """How many of the last characters may be the beginning of a stop string."""
        longest_count = max((len(string) for string in self._stop), default=1) - 1
        for count in range(min(longest_count, len(text)), 0, -1):
            tail = text[-count:]
            if any(string.startswith(tail) for string in self._stop):
                return count
        return 0
