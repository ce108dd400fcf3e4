"""Whole msgpack messages out of bytes that arrive in pieces of any size, found without being made."""

from __future__ import annotations

import msgpack

from registry.errors import InputInvalidError


class MessageSplitter:
    """Finds where messages end. Made into plain values first, one of empty maps would take seventy times its size."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._scanner = msgpack.Unpacker(max_buffer_size=limit_bytes)
        self._buffer = bytearray()
        self._taken_bytes = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes, in order.

        Raises:
            InputInvalidError: not msgpack, or more than the limit without an end.
        """
        found: list[bytes] = []
        rest = memoryview(data)
        while rest:
            # The limit is for one message: of those that end in `data` there may be more than that together.
            room_bytes = self._limit_bytes - len(self._buffer)
            if not room_bytes:
                raise InputInvalidError(f"a message is over the limit of {self._limit_bytes} bytes")
            self._take(rest[:room_bytes], found)
            rest = rest[room_bytes:]
        return found

    def _take(self, data: memoryview, found: list[bytes]) -> None:
        """Find the messages that end in `data`, which fits the buffer."""
        try:
            self._scanner.feed(data)
            self._buffer += data
            while True:
                self._scanner.skip()
                length = self._scanner.tell() - self._taken_bytes
                found.append(bytes(self._buffer[:length]))
                del self._buffer[:length]
                self._taken_bytes += length
        except msgpack.OutOfData:
            return
        except (msgpack.UnpackException, ValueError) as error:
            raise InputInvalidError(f"not msgpack: {error or type(error).__name__}") from error
