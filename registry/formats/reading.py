"""HeaderReader: numbers and stretches of an open file, in bounds, through a small window."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from registry.errors import FormatInvalidError

if TYPE_CHECKING:
    from typing import BinaryIO

_WINDOW_BYTES = 256 * 1024
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


class HeaderReader:
    """Reads forward through a file whose lengths cannot be trusted; never holds more than a window.

    Attributes:
        position: offset in the file of the next byte.
        size_bytes: size of the file.
    """

    def __init__(self, file: BinaryIO, size_bytes: int, kind: str) -> None:
        self.position = 0
        self.size_bytes = size_bytes
        self._file = file
        self._kind = kind
        self._window = b""
        self._window_start = 0

    def require(self, length_bytes: int, what: str) -> None:
        """Refuse a length that goes past the end of the file.

        Raises:
            FormatInvalidError: it does; the message says how long the file should at least be.
        """
        end = self.position + length_bytes
        if end > self.size_bytes:
            raise FormatInvalidError(
                f"truncated {self._kind}: {what} ends at byte {end}, but the file has only "
                f"{self.size_bytes} bytes; copy or download it again"
            )

    def take(self, length_bytes: int, what: str) -> bytes:
        """The next bytes. Only for lengths that the caller has bounded."""
        self.require(length_bytes, what)
        begin = self.position - self._window_start
        if begin < 0 or begin + length_bytes > len(self._window):
            self._load(length_bytes, what)
            begin = 0
        self.position += length_bytes
        return self._window[begin : begin + length_bytes]

    def skip(self, length_bytes: int, what: str) -> None:
        """Move on without reading."""
        self.require(length_bytes, what)
        self.position += length_bytes

    def u32(self, what: str) -> int:
        """A little-endian unsigned 32-bit number."""
        value: int = _U32.unpack(self.take(4, what))[0]
        return value

    def u64(self, what: str) -> int:
        """A little-endian unsigned 64-bit number."""
        value: int = _U64.unpack(self.take(8, what))[0]
        return value

    def skip_strings(self, count: int, what: str) -> None:
        """Skip strings that each start with their 64-bit length; a vocabulary has hundreds of thousands."""
        self.require(count * 8, what)
        unpack = _U64.unpack_from
        while count:
            if not self._window_start <= self.position <= self._window_start + len(self._window) - 8:
                self.require(8, what)
                self._load(8, what)
            window, begin, position = self._window, self._window_start, self.position
            last = begin + len(window) - 8
            while count and position <= last:
                position += 8 + unpack(window, position - begin)[0]
                count -= 1
            self.position = position
            self.require(0, what)

    def _load(self, length_bytes: int, what: str) -> None:
        self._file.seek(self.position)
        self._window = self._file.read(max(length_bytes, _WINDOW_BYTES))
        self._window_start = self.position
        if len(self._window) < length_bytes:
            raise FormatInvalidError(
                f"{self._kind}: the file became shorter while {what} was read; try again"
            )
