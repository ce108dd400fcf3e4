"""Front: what asks for lists and redirects in the plainest way is answered here, and all else handed to aiohttp.

Clients ask for a list, or send a short request to a model, over a kept connection and in one piece. Such a request
needs none of what an HTTP server does for others: it is recognized (`origin.web.simple_request`), decided and answered
(`origin.web.route_desk`) before the event loop turns. Whatever is not exactly that (another URL, a body in
pieces, a header that changes how a message is read, a request that is to be refused) goes to aiohttp with all of its
bytes, and so does everything after it on that connection. So there is one place that understands HTTP.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from origin.web.route_desk import RouteDesk

_UNSENT_LIMIT_BYTES = 64 * 1024


class Front(asyncio.Protocol):
    """One connection, until it asks for anything else than lists.

    Args:
        desk: answers requests for lists.
        inner: makes the protocol that answers all others, and ends connections that ask for nothing.
    """

    def __init__(self, desk: RouteDesk, inner: Callable[[], web.RequestHandler]) -> None:
        self._desk = desk
        self._inner = inner()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._remote = ""
        self._paused = False
        self._waits = False
        self._is_left = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the inner protocol is told too, since it ends the connections of a server that stops."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        self._remote = peer[0] if isinstance(peer, tuple) else ""
        self._inner.connection_made(transport)
        if self._desk.leaves(transport):
            self._transport.set_protocol(self._inner)

    def data_received(self, data: bytes) -> None:
        """Answer a simple request; leave the connection to the inner protocol at anything else."""
        transport = self._transport
        assert transport is not None
        if transport.is_closing():
            return
        if self._waits:  # a client that did not wait for its answer: they keep their order
            self._desk.finish()
            if self._is_left:
                self._inner.data_received(data)
                return
        # Who does not read what was answered is slowed down by the inner protocol.
        unread = self._paused or transport.get_write_buffer_size() > _UNSENT_LIMIT_BYTES
        self._waits = True
        if unread or not self._desk.take(data, self._remote, self):
            self.left(data)

    def answered(self, response: bytes) -> None:
        """The desk's answer to what has come last."""
        self._waits = False
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(response)
        # aiohttp counts from the last response that it sent itself.
        self._inner._next_keepalive_close_time = self._loop.time() + self._inner.keepalive_timeout  # noqa: SLF001

    def left(self, data: bytes) -> None:
        """What has come last is for the inner protocol, and all that follows."""
        self._waits, self._is_left = False, True
        if self._transport is not None:
            self._transport.set_protocol(self._inner)
            self._inner.data_received(data)

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._paused = True
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """It has room again."""
        self._paused = False
        self._inner.resume_writing()

    def eof_received(self) -> None:
        """The client sends no more."""
        self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._transport = None
        self._inner.connection_lost(exc)
