"""The door's ports opened, UDP and TCP on each address, and closed again."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from typing import TYPE_CHECKING

import structlog

from origin.dns.tcp import TcpConnections
from origin.dns.udp import UdpEnd
from registry.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from origin.dns.serving import Serving

log = structlog.get_logger()

_BACKLOG_COUNT = 128
_PORT_TRIES_COUNT = 20


@contextlib.asynccontextmanager
async def listening(
    hosts: Sequence[str], port: int, serving: Serving
) -> AsyncIterator[list[tuple[str, int]]]:
    """Answer on these addresses; gives them with their real ports, UDP and TCP alike.

    Raises:
        ConfigError: an address is not this machine's, or a port is taken or not allowed.
    """
    loop = asyncio.get_running_loop()
    connections = TcpConnections(serving)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(connections.close)
        bound = []
        for host in hosts:
            datagrams, stream = _bind_both(host, port)
            stack.callback(UdpEnd(datagrams, serving, loop).close)
            server = await asyncio.start_server(connections.serve, sock=stream, backlog=_BACKLOG_COUNT)
            stack.callback(server.close)
            bound.append((host, datagrams.getsockname()[1]))
        log.info("dns.opened", hosts=list(hosts), port=bound[0][1] if bound else port)
        yield bound


def _bind_both(host: str, port: int) -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket with the same port, which for 0 any one is that both can have."""
    for _ in range(_PORT_TRIES_COUNT):
        datagrams = _bind(host, port, socket.SOCK_DGRAM)
        try:
            return datagrams, _bind(host, datagrams.getsockname()[1], socket.SOCK_STREAM)
        except ConfigError:
            datagrams.close()
            if port:
                raise
    raise ConfigError(f"no port on {host} is free for both UDP and TCP")


def _bind(host: str, port: int, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, kind)
    try:
        opened.setblocking(False)
        if family == socket.AF_INET6:
            opened.setsockopt(
                socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1
            )  # 0.0.0.0 and :: can stand side by side
        if kind == socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
    except OSError as error:
        opened.close()
        raise _why_not(error, host, port) from error
    return opened


def _why_not(error: OSError, host: str, port: int) -> ConfigError:
    where = f"port {port} on {host}"
    if error.errno == errno.EADDRINUSE:
        return ConfigError(f"origin.dns_port: {where} is in use by another program, such as a local resolver")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return ConfigError(
            f"origin.dns_port: {where} needs a right that this process does not have (CAP_NET_BIND_SERVICE); "
            "give it that, or choose a port above 1023 and send port 53 there"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(f"origin.dns_hosts: {host!r} is not an address of this machine")
    return ConfigError(f"origin.dns_hosts: cannot listen on {where}: {error.strerror or error}")
