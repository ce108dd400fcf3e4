"""DNS over TCP (RFC 7766): questions one after the other on a connection, each with its length in front.

Connections are bounded in number, in silence and in the time that an answer may take to leave; when there are too
many, the one that has been silent longest goes.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from origin.dns.messages import QUERY_LIMIT_BYTES

if TYPE_CHECKING:
    from origin.dns.serving import Serving

CONNECTIONS_LIMIT_COUNT = 256
IDLE_S = 10.0
_LENGTH_BYTES = 2


class TcpConnections:
    """The open connections; `serve` is the callback of `asyncio.start_server`.

    Args:
        serving: what answers.
        idle_s: how long a connection may go without a whole question, be it silent or slow.
        limit_count: connections at most.
    """

    def __init__(
        self, serving: Serving, *, idle_s: float = IDLE_S, limit_count: int = CONNECTIONS_LIMIT_COUNT
    ) -> None:
        self._serving, self._idle_s, self._limit_count = serving, idle_s, limit_count
        # By the time of their last question: whoever asks goes to the end.
        self._open: dict[asyncio.StreamWriter, None] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the other end closes, falls silent, or sends what is no question."""
        if len(self._open) >= self._limit_count:
            longest_silent = next(iter(self._open))
            del self._open[longest_silent]
            longest_silent.transport.abort()
            self._serving.dropped("crowded")
        self._open[writer] = None
        try:
            # Whatever a connection's end looks like, it is an end; resolvers reset them all the time.
            with contextlib.suppress(OSError, EOFError, TimeoutError):
                while await self._one(reader, writer):
                    self._open[writer] = self._open.pop(writer, None)
        finally:
            self._open.pop(writer, None)
            writer.close()

    def close(self) -> None:
        """End all connections."""
        for writer in tuple(self._open):
            writer.transport.abort()
        self._open.clear()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One question and its answer; whether to go on."""
        async with asyncio.timeout(self._idle_s):
            length = int.from_bytes(await reader.readexactly(_LENGTH_BYTES), "big")
            # One byte more than may be is enough to say that it is too much, and then the connection ends.
            packet = await reader.readexactly(min(length, QUERY_LIMIT_BYTES + 1))
            answer = self._serving.over_tcp(packet, writer.get_extra_info("peername")[0])
            if answer is not None:
                writer.write(len(answer).to_bytes(_LENGTH_BYTES, "big") + answer)
                await writer.drain()
        await asyncio.sleep(0)  # a stream of questions that are here already must not keep others waiting
        return answer is not None and length <= QUERY_LIMIT_BYTES
