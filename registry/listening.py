"""A server's address on this machine: who can reach it, and its port opened or refused clearly."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import TYPE_CHECKING

from aiohttp import web

from registry.errors import ConfigError

if TYPE_CHECKING:
    from typing import Protocol

    class Listener(Protocol):
        """The part of a daemon's settings that says where it listens."""

        @property
        def host(self) -> str:
            """Address or name; anything but loopback needs `insecure`."""

        @property
        def port(self) -> int:
            """0 takes any free one."""

        @property
        def insecure(self) -> bool:
            """Whether other machines may reach it, with neither keys nor TLS."""


_PORT_LIMIT = 65_535


def check_listener(section: str, listener: Listener) -> None:
    """Refuse what is no port, and to be reached by other machines unless that was said.

    Args:
        section: of the settings, for the message.
        listener: the settings.

    Raises:
        ConfigError: the port is out of range, or others can reach the host and `insecure` is off.
    """
    if not 0 <= listener.port <= _PORT_LIMIT:
        raise ConfigError(
            f"{section}.port = {listener.port}: a port is a number from 0 (any free one) to {_PORT_LIMIT}"
        )
    if not is_loopback(listener.host) and not listener.insecure:
        raise ConfigError(
            f"{section}.host = {listener.host!r} can be reached from other machines, and requests are neither "
            "encrypted nor authenticated: listen on 127.0.0.1, or say --insecure on a network that you trust"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name may resolve to anything
        return False


async def listen(runner: web.AppRunner, listener: Listener) -> str:
    """Open the port; returns the URL, whose port is the real one where the settings say 0.

    Raises:
        ConfigError: the port is taken or not allowed, or the host is not this machine's.
    """
    site = web.TCPSite(runner, listener.host, listener.port)
    try:
        await site.start()
    except OSError as error:
        raise _why_not(error, listener) from error
    port = next(address[1] for address in runner.addresses if isinstance(address, tuple))
    host = f"[{listener.host}]" if ":" in listener.host else listener.host
    return f"http://{host}:{port}"


def _why_not(error: OSError, listener: Listener) -> ConfigError:
    where = f"port {listener.port} on {listener.host}"
    if error.errno == errno.EADDRINUSE:
        return ConfigError(f"{where} is in use by another program; choose another with --port")
    if error.errno == errno.EACCES:
        return ConfigError(
            f"{where} needs rights that this process does not have; choose one above 1023 with --port"
        )
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(f"{listener.host!r} is not an address of this machine; choose another with --host")
    return ConfigError(f"cannot listen on {where}: {error.strerror or error}")
