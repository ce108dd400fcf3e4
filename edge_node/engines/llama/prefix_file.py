"""The form of a file that holds the keys and values of one stretch of a prefix, and the key that it is named by.

    EDGEKV1     and a line feed, 8 bytes
    length      of the head, 4 bytes, little-endian
    head        msgpack: `Head`
    sha256      of the head, 32 bytes
    payload     what llama.cpp gave out for the positions `start` to the last token; its sha256 is in the head

The identity says what the bytes depend on besides the tokens: they are of use to no other model, build or CPU.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from edge_node.errors import EngineFailedError
from registry.errors import InputInvalidError
from registry.wire import from_msgpack, to_msgpack

if TYPE_CHECKING:
    from typing import BinaryIO

SUFFIX = ".edgekv"
_MAGIC = b"EDGEKV1\n"
_LENGTH = struct.Struct("<I")
_HEAD_LIMIT_BYTES = 1 << 24
_DIGEST_BYTES = 32
# What llama.cpp gave out for some positions.
State = bytes | memoryview


class PrefixFileInvalidError(EngineFailedError):
    """Not a whole file of this form; whoever reads it computes the prefix instead."""


class Head(Struct, frozen=True, kw_only=True):
    """What a file holds.

    Attributes:
        identity: of the model, the engine and the CPU (`prefix_identity`).
        scope: whose it is, as `PrefixTree` names it; None is everyone's.
        start: the first position that the payload has.
        tokens: the whole prefix, from position 0, as little-endian 32-bit numbers.
    """

    identity: str
    scope: str | None
    start: int
    tokens: bytes
    payload_bytes: int
    payload_sha256: bytes

    def token_ids(self) -> list[int]:
        """The prefix."""
        ids: list[int] = np.frombuffer(self.tokens, "<u4").tolist()
        return ids


def head_of(identity: str, scope: str | None, start: int, tokens: list[int], payload: State) -> Head:
    """The head of a file with this payload."""
    return Head(
        identity=identity,
        scope=scope,
        start=start,
        tokens=np.asarray(tokens, "<u4").tobytes(),
        payload_bytes=len(payload),
        payload_sha256=hashlib.sha256(payload).digest(),
    )


def file_name(identity: str, scope: str | None, start: int, tokens: list[int]) -> str:
    """The name by which the same prefix is found again; nothing else has it."""
    digest = hashlib.sha256()
    for part in (identity, "everyone" if scope is None else f"client {scope}", str(start)):
        digest.update(part.encode() + b"\0")
    digest.update(np.asarray(tokens, "<u4").tobytes())
    return digest.hexdigest() + SUFFIX


def encode_head(head: Head) -> bytes:
    """All that comes before the payload."""
    body = to_msgpack(head)
    return _MAGIC + _LENGTH.pack(len(body)) + body + hashlib.sha256(body).digest()


def read_head(file: BinaryIO) -> Head:
    """The head of an open file, which then stands at the payload.

    Raises:
        PrefixFileInvalidError: not such a file, or a damaged one.
    """
    start = file.read(len(_MAGIC) + _LENGTH.size)
    if len(start) < len(_MAGIC) + _LENGTH.size or not start.startswith(_MAGIC):
        raise PrefixFileInvalidError("not a file of a prefix")
    (length,) = _LENGTH.unpack(start[len(_MAGIC) :])
    if length > _HEAD_LIMIT_BYTES:
        raise PrefixFileInvalidError("the head is too long")
    body, digest = file.read(length), file.read(_DIGEST_BYTES)
    if hashlib.sha256(body).digest() != digest:
        raise PrefixFileInvalidError("the head is damaged")
    try:
        head = from_msgpack(body, Head)
    except InputInvalidError as error:
        raise PrefixFileInvalidError(f"the head is of another form: {error.message}") from error
    count, rest = divmod(len(head.tokens), 4)
    if rest or not 0 <= head.start < count or head.payload_bytes < 0:
        raise PrefixFileInvalidError("the head contradicts itself")
    return head


def read_payload(file: BinaryIO, head: Head) -> bytes:
    """The payload after the head.

    Raises:
        PrefixFileInvalidError: cut short, or not the bytes that were written.
    """
    payload = file.read(head.payload_bytes + 1)
    if len(payload) != head.payload_bytes or hashlib.sha256(payload).digest() != head.payload_sha256:
        raise PrefixFileInvalidError("the payload is damaged")
    return payload
