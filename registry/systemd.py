"""What systemd tells a service and is told by it: sockets passed on, readiness, the watchdog, the main process.

The protocols are those of sd_listen_fds(3) and sd_notify(3): environment variables and one datagram each.
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from registry.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

log = structlog.get_logger()

FIRST_FD = 3
"""Sockets that are passed on begin at this descriptor (SD_LISTEN_FDS_START)."""
_PATIENCE_S = 0.1
"""A manager that does not read must not stop the loop that answers requests."""


@dataclass(frozen=True, slots=True)
class Watchdog:
    """How often the service manager wants to hear from a process.

    Attributes:
        limit_s: it ends a process that was silent for this long.
    """

    limit_s: float

    @property
    def pause_s(self) -> float:
        """The time between two signs of life."""
        return self.limit_s / 3


def passed_count(environ: Mapping[str, str], pid: int) -> int:
    """How many sockets were passed to the process `pid`; 0 where they are another's or there are none.

    Raises:
        ConfigError: the variables hold no numbers.
    """
    if "LISTEN_FDS" not in environ or "LISTEN_PID" not in environ:
        return 0
    try:
        count, meant = int(environ["LISTEN_FDS"]), int(environ["LISTEN_PID"])
    except ValueError as error:
        raise ConfigError("LISTEN_FDS and LISTEN_PID must be numbers, as systemd sets them") from error
    return max(count, 0) if meant == pid else 0


def passed_socket(environ: Mapping[str, str] = os.environ) -> socket.socket | None:
    """The one listening socket that systemd passed to this process; None when it passed none.

    Raises:
        ConfigError: it passed several, or one that is no TCP socket.
    """
    count = passed_count(environ, os.getpid())
    if count == 0:
        return None
    if count > 1:
        raise ConfigError(f"systemd passed {count} sockets: say one ListenStream= in the .socket unit")
    return socket_of(FIRST_FD)


def socket_of(descriptor: int) -> socket.socket:
    """A descriptor as a listening TCP socket, closed in programs that this one starts.

    Raises:
        ConfigError: it is none.
    """
    try:
        passed = socket.socket(fileno=descriptor)
    except OSError as error:
        raise ConfigError(
            f"descriptor {descriptor}, passed to this process, is no socket: {error}"
        ) from error
    listens = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if passed.family not in {socket.AF_INET, socket.AF_INET6} or not listens:
        passed.close()
        raise ConfigError(f"descriptor {descriptor}, passed to this process, is no listening TCP socket")
    passed.set_inheritable(False)
    passed.setblocking(False)
    return passed


def watchdog(environ: Mapping[str, str] = os.environ) -> Watchdog | None:
    """The watchdog of this service; None where it has none.

    WATCHDOG_PID is not looked at: a process that took over from the one it names is watched in its place.
    """
    try:
        limit_us = int(environ.get("WATCHDOG_USEC", "0"))
    except ValueError:
        return None
    return Watchdog(limit_us / 1e6) if limit_us > 0 else None


def is_supervised(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether somebody wants to be told of this process's state."""
    return bool(environ.get("NOTIFY_SOCKET"))


def notify(*states: str, environ: Mapping[str, str] = os.environ) -> None:
    """Tell the service manager, such as `READY=1`; without one nothing happens, and a failure is only logged."""
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
            told.settimeout(_PATIENCE_S)
            told.connect(address)
            told.send("\n".join(states).encode())
    except OSError as error:  # a full queue or a manager that is being replaced: the service itself is well
        log.warning("manager.not_told", states=states, reason=str(error))


async def keep_telling(environ: Mapping[str, str] = os.environ) -> None:
    """Give signs of life as long as a watchdog wants them: they come from the loop that answers, so a hang shows."""
    watched = watchdog(environ)
    while watched is not None:
        notify("WATCHDOG=1", environ=environ)
        await asyncio.sleep(watched.pause_s)
