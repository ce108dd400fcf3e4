"""The two ends of the socket between front and child: asynchronous here, polled between steps there."""

from __future__ import annotations

import asyncio
import select
import socket
from typing import TYPE_CHECKING, cast

from edge_node.engines import Command, Event
from edge_node.engines.framing import FrameReader, encode_frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_READ_BYTES = 256 << 10


class FrontChannel:
    """The front's end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, end: socket.socket) -> FrontChannel:
        """Take over one end of a socket pair."""
        end.setblocking(False)
        return cls(*await asyncio.open_unix_connection(sock=end))

    def send(self, command: Command) -> None:
        """Queue a command; a child that is gone shows in `events` instead.

        Raises:
            FrameInvalidError: the command cannot be put into a frame.
        """
        frame = encode_frame(command)
        if not self._writer.is_closing():
            self._writer.write(frame)

    async def events(self) -> AsyncIterator[Event]:
        """What the child says, until it closes its end.

        Raises:
            FrameInvalidError: the child sent something else than the protocol's messages.
        """
        frames = FrameReader(Event)
        while True:
            try:
                data = await self._reader.read(_READ_BYTES)
            except ConnectionError:  # killed with our commands unread
                return
            if not data:
                return
            for event in frames.feed(data):
                yield cast("Event", event)

    def close(self) -> None:
        """Close our end: the child's signal to stop."""
        self._writer.close()


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
        """Send events in one write.

        Raises:
            ConnectionError: the front is gone.
        """
        self._socket.sendall(b"".join(encode_frame(event) for event in events))
