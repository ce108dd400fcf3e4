"""The frames between front and child: msgpack maps one after the other, each checked and bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack

from registry import wire
from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge_node.engines import Command, Event

MAX_FRAME_BYTES = 64 << 20


class FrameInvalidError(InputInvalidError):
    """What arrived is not a message of the engine protocol, or is larger than one may be."""


def encode_frame(message: Command | Event) -> bytes:
    """The bytes of one message.

    Raises:
        FrameInvalidError: the message is over the limit, or holds text that is not Unicode.
    """
    try:
        frame = wire.to_msgpack(message)
    except InputInvalidError as error:
        raise FrameInvalidError(error.message) from error
    if len(frame) > MAX_FRAME_BYTES:
        raise FrameInvalidError(f"a message of {len(frame)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return frame


class FrameReader:
    """Messages out of bytes that arrive in pieces of any size."""

    def __init__(self, kind: Any, *, limit_bytes: int = MAX_FRAME_BYTES) -> None:
        self._kind = kind
        self._limit_bytes = limit_bytes
        # It only looks for the ends of messages: made into plain values first, a message of empty maps would take
        # seventy times its size.
        self._scanner = msgpack.Unpacker(max_buffer_size=limit_bytes)
        self._buffer = bytearray()
        self._taken_bytes = 0

    def feed(self, data: bytes) -> Iterator[Any]:
        """The messages that `data` completes, in order.

        Raises:
            FrameInvalidError: not a message of `kind`, or more than `limit_bytes` without an end.
        """
        for frame in self._frames(data):
            try:
                message = wire.from_msgpack(frame, self._kind)
            except InputInvalidError as error:
                raise FrameInvalidError(f"not a message of the engine protocol: {error.message}") from error
            yield message

    def _frames(self, data: bytes) -> list[bytes]:
        frames: list[bytes] = []
        try:
            self._scanner.feed(data)
            self._buffer += data
            while True:
                self._scanner.skip()
                length = self._scanner.tell() - self._taken_bytes
                frames.append(bytes(self._buffer[:length]))
                del self._buffer[:length]
                self._taken_bytes += length
        except msgpack.OutOfData:
            return frames
        except msgpack.BufferFull as error:
            raise FrameInvalidError(f"a message is over the limit of {self._limit_bytes} bytes") from error
        except (msgpack.UnpackException, ValueError) as error:
            raise FrameInvalidError(f"not msgpack: {error or type(error).__name__}") from error
