"""A node's listening socket and the connections that came through it: opened, lent to a successor, left in peace."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from registry.errors import ConfigError
from registry.listening import is_loopback, listen, listen_on
from registry.tls import tls_files

if TYPE_CHECKING:
    import socket
    from contextlib import AsyncExitStack

    from edge_node.config import NodeConfig

log = structlog.get_logger()

_FLUSH_S = 5.0
"""How long connections may take to send the rest of their answers when the engines are closed."""
_LOOK_S = 0.02
BYE_S = 0.5
"""How long a client has to say something more on a connection, and hear that it ends, before an idle one is closed."""


class Listener:
    """Where a node is reached; `passed` is the socket it was given, None has it open its own.

    Attributes:
        tls: the certificate that clients see; None speaks plain HTTP.
    """

    def __init__(self, config: NodeConfig, passed: socket.socket | None) -> None:
        self._left = False
        self._config = config
        self._passed = passed
        self._runner: web.AppRunner | None = None
        self.tls = tls_files("node", config.tls_cert_file, config.tls_key_file)
        if passed is not None:
            self._check_passed(passed)

    @property
    def is_lent(self) -> bool:
        """Whether the socket is somebody else's: connections wait in it while no process accepts them."""
        return self._passed is not None

    def is_left(self) -> bool:
        """Whether answers say that their connection ends, since another process answers the next request."""
        return self._left

    def descriptor(self) -> int | None:
        """Of the socket that was passed, for a successor; None where this process opened its own."""
        return None if self._passed is None else self._passed.fileno()

    async def prepare(self, app: web.Application, ends: AsyncExitStack) -> None:
        """Make all ready to accept; `ends` gets the way back."""
        self._runner = web.AppRunner(app, shutdown_timeout=_FLUSH_S)
        await self._runner.setup()
        ends.push_async_callback(self._runner.cleanup)

    async def open(self) -> str:
        """Accept from now on; returns the URL. Raises ConfigError: the port cannot be had."""
        assert self._runner is not None
        context = self.tls.context if self.tls else None
        if self._passed is not None:
            return await listen_on(self._runner, self._passed, context)
        return await listen(self._runner, self._config.host, self._config.port, context)

    async def leave(self, *, patience_s: float, hurry: asyncio.Event) -> None:
        """Accept no more, and answer what comes through open connections, each for the last time, until all have ended.

        Args:
            patience_s: how long idle connections are kept for what their clients may be sending: a successor that
                waits for this process to end wants it short, one that serves already does not mind.
            hurry: set to wait no longer.
        """
        runner = self._runner
        assert runner is not None
        self._left = True
        for site in tuple(runner.sites):
            await site.stop()
        loop = asyncio.get_running_loop()
        until_s = loop.time() + patience_s
        # That connections end gives no event.
        while self._connections() and not hurry.is_set() and asyncio.get_running_loop().time() < until_s:  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_S)
        for connection in self._connections():
            connection.close()  # an idle one now, a busy one with its answer
        with suppress(TimeoutError):
            await asyncio.wait_for(hurry.wait(), _LOOK_S)

    def _connections(self) -> list[web.RequestHandler]:
        server = self._runner.server if self._runner else None
        return list(server.connections) if server else []

    def _check_passed(self, passed: socket.socket) -> None:
        config = self._config
        host, port = passed.getsockname()[:2]
        if not is_loopback(host) and not config.insecure and config.tls_cert_file is None:
            raise ConfigError(
                f"the socket that this node was given listens on {host}, which other machines can reach, and requests "
                "are neither encrypted nor authenticated: let its unit listen on 127.0.0.1, give node.tls_cert_file "
                "and tls_key_file, or set node.insecure on a network that you trust"
            )
        if port != config.port:
            log.warning("listener.differs", port=port, configured_port=config.port)
