"""Server-sent events out of bytes as they arrive (WHATWG HTML, section 9.2.6)."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from edge_node.errors import AnswerInvalidError

EVENT_LIMIT_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One dispatched event; `data` joins its data lines with newlines."""

    data: str
    event: str = "message"


class SseParser:
    """Feed it bytes cut anywhere; it gives the events that are complete.

    Comments, `id` and `retry` are read and dropped: nothing here reconnects.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._line: list[str] = []
        self._line_chars_count = 0
        self._after_cr = False
        self._data: list[str] = []
        self._event = ""

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that these bytes complete.

        Raises:
            AnswerInvalidError: an event is longer than 8 MiB.
        """
        text = self._decoder.decode(data)
        if self._after_cr and text:
            # A line feed right after a carriage return belongs to the same line end.
            text = text.removeprefix("\n")
            self._after_cr = False
        self._after_cr = text.endswith("\r") or (self._after_cr and not text)
        # str.splitlines would also cut at U+2028 and others, which are text here.
        *whole, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        events: list[ServerEvent] = []
        for line in whole:
            self._line.append(line)
            self._take("".join(self._line), events)
            self._line.clear()
            self._line_chars_count = 0
        if rest:
            self._line.append(rest)
            self._line_chars_count += len(rest)
        if self._line_chars_count + sum(map(len, self._data)) > EVENT_LIMIT_BYTES:
            raise AnswerInvalidError(f"an event of the stream is longer than {EVENT_LIMIT_BYTES} bytes")
        return events

    def _take(self, line: str, events: list[ServerEvent]) -> None:
        if not line:
            if self._data:
                events.append(ServerEvent("\n".join(self._data), self._event or "message"))
            self._data, self._event = [], ""
            return
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
