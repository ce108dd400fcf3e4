"""Hash trees: many messages under one signature, each with the few hashes that lead from it to what was signed.

R. Merkle, "A digital signature based on a conventional encryption function" (CRYPTO '87), hashed as RFC 6962, section
2.1: leaves and inner nodes begin with different bytes, so that no inner node can be shown as a message. Who is alone at
the end of a row goes up as he is.

    path    = 1 byte: number of hashes * 32 + the sides | hashes of 32 bytes, from the leaf upwards
    sides   = a bit for each hash, the lowest for the first: 1 where the hash stands on the left
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MESSAGES_LIMIT_COUNT = 32
"""So many messages have paths of five hashes, whose sides fit the first byte."""
_HASH_BYTES = 32
_HASHES_LIMIT_COUNT = 5
PATH_LIMIT_BYTES = 1 + _HASHES_LIMIT_COUNT * _HASH_BYTES

_LEAF, _INNER = b"\x00", b"\x01"


def tree_of(messages: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """The root over 1 to 32 messages, 32 bytes, and the path of each.

    Raises:
        ValueError: none, or too many.
    """
    if not 1 <= len(messages) <= MESSAGES_LIMIT_COUNT:
        raise ValueError(f"a tree has 1 to {MESSAGES_LIMIT_COUNT} messages, not {len(messages)}")
    row = [sha256(_LEAF + message).digest() for message in messages]
    at = list(range(len(row)))
    sides, hashes = [0] * len(row), [list[bytes]() for _ in row]
    while len(row) > 1:
        for number, position in enumerate(at):
            beside = position ^ 1
            if beside < len(row):
                sides[number] |= (position & 1) << len(hashes[number])
                hashes[number].append(row[beside])
            at[number] = position >> 1
        alone = row[-1:] if len(row) & 1 else []
        pairs = zip(row[::2], row[1::2], strict=False)
        row = [sha256(_INNER + left + right).digest() for left, right in pairs] + alone
    paths = [
        bytes([len(found) << _HASHES_LIMIT_COUNT | side]) + b"".join(found)
        for side, found in zip(sides, hashes, strict=True)
    ]
    return row[0], paths


def root_of(message: bytes, path: bytes) -> bytes:
    """The root that a whole path leads to from a message."""
    found = sha256(_LEAF + message).digest()
    for number in range(path[0] >> _HASHES_LIMIT_COUNT):
        beside = path[1 + number * _HASH_BYTES : 1 + (number + 1) * _HASH_BYTES]
        on_the_left = path[0] >> number & 1
        found = sha256(_INNER + (beside + found if on_the_left else found + beside)).digest()
    return found


def split_path(data: bytes) -> tuple[bytes, bytes] | None:
    """The path that data begins with, and what comes after it; None where they end within it, or none is so long."""
    if not data:
        return None
    hashes_count = data[0] >> _HASHES_LIMIT_COUNT
    path_bytes = 1 + hashes_count * _HASH_BYTES
    if hashes_count > _HASHES_LIMIT_COUNT or len(data) < path_bytes:
        return None
    return data[:path_bytes], data[path_bytes:]
