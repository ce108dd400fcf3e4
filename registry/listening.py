"""A server's address on this machine: who can reach it, and its port opened or refused clearly."""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import TYPE_CHECKING

from aiohttp import web

from registry.errors import ConfigError

if TYPE_CHECKING:
    import ssl
    from pathlib import Path
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
            """Whether other machines may reach it without TLS."""

        @property
        def require_keys(self) -> bool:
            """Whether clients are let in by a key alone."""

        @property
        def tls_cert_file(self) -> Path | None:
            """The certificate that it shows, PEM; None speaks plain HTTP."""

        @property
        def tls_key_file(self) -> Path | None:
            """The key of the certificate."""


PORT_LIMIT = 65_535


def check_listener(section: str, listener: Listener) -> None:
    """Refuse what is no port, and to be reached by other machines unless that was said.

    Args:
        section: of the settings, for the message.
        listener: the settings.

    Raises:
        ConfigError: the port is out of range, or others can reach the host and `insecure` is off.
    """
    if not 0 <= listener.port <= PORT_LIMIT:
        raise ConfigError(
            f"{section}.port = {listener.port}: a port is a number from 0 (any free one) to {PORT_LIMIT}"
        )
    if (listener.tls_cert_file is None) != (listener.tls_key_file is None):
        raise ConfigError(f"{section}.tls_cert_file and {section}.tls_key_file go together: say both")
    if not is_loopback(listener.host) and not listener.insecure and listener.tls_cert_file is None:
        unsafe = (
            "keys would travel in the clear" if listener.require_keys
            else "requests are neither encrypted nor authenticated"
        )  # fmt: skip
        raise ConfigError(
            f"{section}.host = {listener.host!r} can be reached from other machines, and {unsafe}: listen on "
            f"127.0.0.1, give it a certificate with {section}.tls_cert_file and tls_key_file, or say --insecure on a "
            "network that you trust"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name may resolve to anything
        return False


async def listen(runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext | None = None) -> str:
    """Open a port, for HTTPS where `tls` is given; returns the URL, whose port is the real one where 0 was asked for.

    Raises:
        ConfigError: the port is taken or not allowed, or the host is not this machine's.
    """
    before = set(runner.addresses)
    site = web.TCPSite(runner, host, port, ssl_context=tls)
    try:
        await site.start()
    except OSError as error:
        raise _why_not(error, host, port) from error
    opened = [address for address in runner.addresses if address not in before]
    real_port = next(address[1] for address in opened if isinstance(address, tuple))
    shown = f"[{host}]" if ":" in host else host
    return f"{'http' if tls is None else 'https'}://{shown}:{real_port}"


async def listen_on(runner: web.AppRunner, passed: socket.socket, tls: ssl.SSLContext | None = None) -> str:
    """Accept at a socket that listens already, for HTTPS where `tls` is given; returns its URL."""
    await web.SockSite(runner, passed, ssl_context=tls).start()
    host, port = passed.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"{'http' if tls is None else 'https'}://{shown}:{port}"


def _why_not(error: OSError, host: str, port: int) -> ConfigError:
    where = f"port {port} on {host}"
    if error.errno == errno.EADDRINUSE:
        return ConfigError(f"{where} is in use by another program; choose another with --port")
    if error.errno == errno.EACCES:
        return ConfigError(
            f"{where} needs rights that this process does not have; choose one above 1023 with --port"
        )
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(f"{host!r} is not an address of this machine; choose another with --host")
    return ConfigError(f"cannot listen on {where}: {error.strerror or error}")
