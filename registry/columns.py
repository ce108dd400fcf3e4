"""Many rows of numbers column by column, each number in as few bytes as it needs; digests one after another.

Rows as msgpack maps would repeat every name, and every number would be an object of its own.
"""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING

from registry.errors import ChunkMismatchError, ManifestInvalidError
from registry.varint import VarintReader, pack_varints

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_U32 = "I"


def pack_u32(values: Iterable[int]) -> bytes:
    """Numbers below 2**32, 4 bytes each."""
    numbers = array(_U32, values)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def unpack_u32(packed: bytes) -> Sequence[int]:
    """The numbers of whole groups of 4 bytes."""
    numbers = array(_U32)
    numbers.frombytes(packed)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def pack_numbers(values: Iterable[int]) -> bytes:
    """A column of numbers of 0 or more."""
    return pack_varints(values)


def unpack_numbers(column: bytes, count: int, what: str) -> list[int]:
    """The numbers of a column.

    Raises:
        ManifestInvalidError: it does not have exactly `count` of them.
    """
    if len(column) == count and max(column, default=0) < 0x80:
        return list(column)  # one byte each: most columns
    reader = VarintReader(memoryview(column), f"the column {what}")
    try:
        if count > len(column):
            raise ManifestInvalidError(f"the column {what} has {len(column)} bytes, too few for {count} rows")
        numbers = [reader.varint() for _ in range(count)]
        reader.finish()
    except ChunkMismatchError as error:
        raise ManifestInvalidError(error.message) from error
    return numbers


def unpack_digests(column: bytes, width_bytes: int, what: str) -> list[str]:
    """The hex form of each digest of a column.

    Raises:
        ManifestInvalidError: the column ends inside a digest.
    """
    if len(column) % width_bytes:
        raise ManifestInvalidError(f"the column {what} has {len(column)} bytes, not whole digests")
    text = column.hex()
    width = 2 * width_bytes
    return [text[begin : begin + width] for begin in range(0, len(text), width)]
