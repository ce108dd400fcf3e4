"""Numbers in as few bytes as they need: seven bits a byte, low ones first (LEB128); and reading them with care."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.errors import ChunkMismatchError

if TYPE_CHECKING:
    from collections.abc import Iterable

_BITS_LIMIT_COUNT = 63


def put_varint(out: bytearray, value: int) -> None:
    """Append a number of 0 or more."""
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def pack_varints(values: Iterable[int]) -> bytes:
    """Numbers of 0 or more, one after another."""
    out = bytearray()
    for value in values:
        put_varint(out, value)
    return bytes(out)


def zigzag(value: int) -> int:
    """A signed number as one of 0 or more, small for small."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def unzigzag(value: int) -> int:
    """The inverse of `zigzag`."""
    return -(value + 1 >> 1) if value & 1 else value >> 1


class VarintReader:
    """Reads forward through bytes from a stranger; what goes past the end is refused.

    Attributes:
        what: how errors call the bytes.
    """

    def __init__(self, data: memoryview, what: str) -> None:
        self.what = what
        self._data = data
        self._position = 0

    @property
    def rest_bytes(self) -> int:
        """How many bytes are left."""
        return len(self._data) - self._position

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0]

    def varint(self) -> int:
        """The next number."""
        value = shift = 0
        while shift < _BITS_LIMIT_COUNT:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise ChunkMismatchError(f"{self.what} is damaged: a number has no end")

    def take(self, length_bytes: int) -> memoryview:
        """The next bytes.

        Raises:
            ChunkMismatchError: there are not so many.
        """
        if not 0 <= length_bytes <= self.rest_bytes:
            raise ChunkMismatchError(
                f"{self.what} is damaged: {length_bytes} bytes are announced and {self.rest_bytes} are left"
            )
        self._position += length_bytes
        return self._data[self._position - length_bytes : self._position]

    def finish(self) -> None:
        """Refuse bytes that are left over.

        Raises:
            ChunkMismatchError: there are some.
        """
        if self.rest_bytes:
            raise ChunkMismatchError(f"{self.what} is damaged: {self.rest_bytes} bytes are left over")
