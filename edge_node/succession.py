"""A running node replaced by a new process that is warm before the old one stops.

The old process starts the new one with its listening socket and one end of a pair of connected sockets. The new one
loads every model that serves, while the data directory is still the old one's, and says `warm`. The old one ends what
it does besides answering, lets the directory go, and says `yours`. The new one takes the directory, accepts, and says
`serving`; the old one names it to systemd as the main process (sd_notify(3), MAINPID=), answers what is open, and
ends. Whoever sees the other end close before its turn goes on as if nothing had been: a new process that fails costs
nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import structlog

from registry.errors import ConfigError
from registry.systemd import socket_of

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping, Sequence

log = structlog.get_logger()

VARIABLE = "EDGEWARD_SUCCEEDS"
"""In the new process's environment: the descriptors of the listening socket and of the connection to the old one."""
LAUNCHER = "EDGEWARD_LAUNCHER"
"""Set by an installed node's launcher to its own path."""
WARM_LIMIT_S = 300.0
"""How long a new process may take to load what serves."""
TURN_LIMIT_S = 20.0
"""How long either side may take for its part of the change itself."""

Word = Literal["warm", "yours", "serving"]


@dataclass(frozen=True, slots=True)
class Line:
    """One end of the connection between the two processes; each says a word a line."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, word: Word) -> None:
        """Tell the other process; one that has ended is noticed when it is listened to."""
        self.writer.write(f"{word}\n".encode())
        try:
            await self.writer.drain()
        except ConnectionError:
            log.warning("succession.unheard", word=word)

    async def hears(self, word: Word, *, limit_s: float) -> bool:
        """Whether the other process says this next, in time."""
        try:
            async with asyncio.timeout(limit_s):
                said = await self.reader.readline()
        except (TimeoutError, ConnectionError):
            return False
        return said == f"{word}\n".encode()

    def close(self) -> None:
        """Say no more."""
        self.writer.close()


async def line_of(end: socket.socket) -> Line:
    """The connection whose end this is."""
    return Line(*await asyncio.open_unix_connection(sock=end))


@dataclass(slots=True)
class Successor:
    """The new process, as the old one sees it."""

    process: subprocess.Popen[bytes]
    line: Line

    @property
    def pid(self) -> int:
        """Its number."""
        return self.process.pid

    async def dismiss(self) -> None:
        """End a process that did not come far."""
        self.line.close()
        self.process.terminate()
        try:
            await asyncio.to_thread(self.process.wait, TURN_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)


async def start_successor(listening: int, command: Sequence[str] | None = None) -> Successor:
    """Start the program that is installed now, to take over from this process.

    Args:
        listening: descriptor of the listening socket.
        command: what to run; None runs what this process was started with, by its path, behind which an upgrade puts
            the new release.

    Raises:
        OSError: it cannot be started.
    """
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with its:
        try:
            process = await asyncio.to_thread(
                subprocess.Popen,
                list(command or own_command()),
                env=heirs_environment(os.environ, listening, its.fileno()),
                pass_fds=(listening, its.fileno()),
                stdin=subprocess.DEVNULL,
            )
        except OSError:
            mine.close()
            raise
    mine.setblocking(False)
    return Successor(process, await line_of(mine))


def heirs_environment(environ: Mapping[str, str], listening: int, line: int) -> dict[str, str]:
    """A process's environment for its successor."""
    kept = {name: value for name, value in environ.items() if not name.startswith("LISTEN_")}
    return kept | {VARIABLE: f"{listening} {line}"}


def own_command(environ: Mapping[str, str] = os.environ) -> list[str]:
    """How to start what is installed now, as this process was.

    An installed node runs from its release's own directory, so that an upgrade changes nothing under its feet; its
    launcher says in the environment by which name the newest one goes.
    """
    launcher = environ.get(LAUNCHER)
    return [launcher, *sys.argv[1:]] if launcher else [sys.executable, *sys.orig_argv[1:]]


@dataclass(frozen=True, slots=True)
class Heir:
    """What a process was given by the one that it succeeds."""

    listening: socket.socket
    line: Line

    async def take_over(self) -> None:
        """Say that all is loaded, and wait until the directory is this process's.

        Raises:
            ConfigError: the other process does not let go; this one is of no use then.
        """
        await self.line.say("warm")
        if not await self.line.hears("yours", limit_s=TURN_LIMIT_S):
            raise ConfigError("the node that this process was to succeed goes on by itself")

    async def tell_serving(self) -> None:
        """Say that requests are answered here from now on."""
        await self.line.say("serving")
        self.line.close()


async def heir_of(environ: MutableMapping[str, str]) -> Heir | None:
    """What the process before this one handed over; None where there is none. The variable is taken away.

    Raises:
        ConfigError: the variable is not what a predecessor sets.
    """
    said = environ.pop(VARIABLE, "")
    if not said:
        return None
    try:
        listening, line = (int(word) for word in said.split())
        end = socket.socket(fileno=line)
    except (ValueError, OSError) as error:
        raise ConfigError(
            f"{VARIABLE} = {said[:40]!r} is set by a running node alone: take it away"
        ) from error
    end.set_inheritable(False)
    end.setblocking(False)
    return Heir(socket_of(listening), await line_of(end))
