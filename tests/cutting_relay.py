"""A relay before a node that breaks a stream off in the middle."""

from __future__ import annotations

import asyncio


class Relay:
    """Passes bytes on; once, after so many bytes of the answer to a POST, it breaks the connection off.

    Attributes:
        passed_bytes: of the last answer to a POST.
    """

    def __init__(self, port):
        self.passed_bytes = 0
        self._limit_bytes = None
        self._port = port
        self._passing = set()
        self._server = None

    def cut_after(self, limit_bytes):
        """Break the answer to the next POST off after so many bytes."""
        self._limit_bytes = limit_bytes

    async def open(self):
        """Listen on a free port; the URL."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self):
        """End all connections."""
        self._server.close()
        for passing in self._passing:
            passing.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)

    async def _take(self, reader, writer):
        self._passing.add(asyncio.current_task())
        try:
            await _Passage(self, reader, writer).run(self._port)
        except asyncio.CancelledError:
            return  # else asyncio's streams complain
        finally:
            self._passing.discard(asyncio.current_task())
            writer.close()

    def left_bytes(self, passed_bytes):
        """How much more may pass of the answer to a POST; None for all of it."""
        return None if self._limit_bytes is None else max(0, self._limit_bytes - passed_bytes)

    def passed(self, passed_bytes, *, cut):
        """So much of the answer to a POST has passed."""
        self.passed_bytes = passed_bytes
        if cut:
            self._limit_bytes = None


class _Passage:
    """One connection."""

    def __init__(self, relay, reader, writer):
        self._relay = relay
        self._reader = reader
        self._writer = writer
        self._answering_post = False
        self._passed_bytes = 0

    async def run(self, port):
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        asking = asyncio.create_task(self._ask(there_writer))
        try:
            while data := await there_reader.read(1 << 16):
                left_bytes = self._relay.left_bytes(self._passed_bytes) if self._answering_post else None
                cut = left_bytes is not None and left_bytes <= len(data)
                data = data[:left_bytes] if cut else data
                self._writer.write(data)
                if self._answering_post:
                    self._passed_bytes += len(data)
                    self._relay.passed(self._passed_bytes, cut=cut)
                if cut:
                    return
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            there_writer.close()

    async def _ask(self, there_writer):
        while data := await self._reader.read(1 << 16):
            if data[:5] in {b"POST ", b"GET /", b"HEAD "}:  # else more of a body
                self._answering_post, self._passed_bytes = data.startswith(b"POST "), 0
            there_writer.write(data)
