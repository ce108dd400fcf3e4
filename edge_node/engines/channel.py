"""The two ends of the socket between front and child: asynchronous here, polled between steps there."""

from __future__ import annotations

import asyncio
import select
import socket
from typing import TYPE_CHECKING, cast

from edge_node.engines import Command, Event, LoadFailed, Ready, Refused
from edge_node.engines.framing import FrameInvalidError, FrameReader, encode_frame
from edge_node.errors import RequestInvalidError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_READ_BYTES = 256 << 10


class FrontChannel(asyncio.Protocol):
    """The front's end: what the child says is heard where it arrives, without a task between.

    Args:
        hear: called with each event.
    """

    def __init__(self, hear: Callable[[Event], None]) -> None:
        self._hear = hear
        self._frames = FrameReader(Event)
        self._transport: asyncio.Transport | None = None
        self._ended = asyncio.get_running_loop().create_future()

    @classmethod
    async def over(cls, end: socket.socket, hear: Callable[[Event], None]) -> FrontChannel:
        """Take over one end of a socket pair."""
        end.setblocking(False)
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(lambda: cls(hear), sock=end)
        return channel

    def send(self, command: Command) -> None:
        """Queue a command; a child that is gone shows in `ended` instead.

        Raises:
            FrameInvalidError: the command cannot be put into a frame.
        """
        frame = encode_frame(command)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frame)

    async def ended(self) -> None:
        """Wait until the child has closed its end.

        Raises:
            FrameInvalidError: the child sent something else than the protocol's messages.
        """
        await asyncio.shield(self._ended)

    def close(self) -> None:
        """Close our end: the child's signal to stop."""
        if self._transport is not None:
            self._transport.close()

    # ---- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """The child has said something."""
        if self._ended.done():  # it was not believed before
            return
        try:
            for event in self._frames.feed(data):
                self._hear(event)
        except FrameInvalidError as error:
            self._ended.set_exception(error)

    def connection_lost(self, _error: Exception | None) -> None:
        """The child is gone, or was killed with our commands unread."""
        if not self._ended.done():
            self._ended.set_result(None)


class ChildChannel:
    """The child's end: blocking, and readable without waiting between two steps of work."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(True)
        self._socket = end
        self._frames = FrameReader(Command)
        self._poll = select.poll()
        self._poll.register(end, select.POLLIN)

    @classmethod
    def of_descriptor(cls, descriptor: int) -> ChildChannel:
        """Take over the descriptor that the front left open; grandchildren do not get it."""
        end = socket.socket(fileno=descriptor)
        end.set_inheritable(False)
        return cls(end)

    def receive(self, *, wait: bool) -> list[Command] | None:
        """The commands that have arrived, or None when the front is gone; `wait` blocks for at least one.

        Raises:
            FrameInvalidError: the front sent something else than the protocol's messages.
        """
        commands: list[Command] = []
        while True:
            if not self._poll.poll(None if wait and not commands else 0):
                return commands
            try:
                data = self._socket.recv(_READ_BYTES)
            except ConnectionError:
                return None
            if not data:
                return None
            commands.extend(self._frames.feed(data))

    def send(self, events: Sequence[Event]) -> None:
        """Send events in one write; an answer that cannot be put into a frame becomes a refusal of its request.

        Raises:
            ConnectionError: the front is gone.
        """
        self._socket.sendall(b"".join(map(_frame_of, events)))


def _frame_of(event: Event) -> bytes:
    try:
        return encode_frame(event)
    except FrameInvalidError as error:
        if isinstance(event, Ready | LoadFailed):
            raise
        # The other requests of this process are not to end with it.
        message = f"the answer cannot be sent: {error.message}; ask for less at a time"
        return encode_frame(
            Refused(request_id=event.request_id, code=RequestInvalidError.code, message=message)
        )
