"""The frames between front and child: msgpack maps one after the other, each checked and bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from registry import wire
from registry.errors import InputInvalidError
from registry.message_stream import MessageSplitter

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
        self._splitter = MessageSplitter(limit_bytes)

    def feed(self, data: bytes) -> Iterator[Any]:
        """The messages that `data` completes, in order.

        Raises:
            FrameInvalidError: not a message of `kind`, or more than `limit_bytes` without an end.
        """
        try:
            frames = self._splitter.feed(data)
        except InputInvalidError as error:
            raise FrameInvalidError(error.message) from error
        for frame in frames:
            try:
                message = wire.from_msgpack(frame, self._kind)
            except InputInvalidError as error:
                raise FrameInvalidError(f"not a message of the engine protocol: {error.message}") from error
            yield message
