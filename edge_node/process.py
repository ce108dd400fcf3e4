"""A node's process: started by hand, by systemd or by the node before it; told by signals to end or to be succeeded."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import structlog

from edge_node.pauses import keep_short
from edge_node.running import running_node
from edge_node.succession import TURN_LIMIT_S, WARM_LIMIT_S, heir_of, start_successor
from registry.errors import ConfigError
from registry.systemd import is_supervised, keep_telling, notify, passed_socket
from registry.works import first_of

if TYPE_CHECKING:
    from edge_node.config import NodeConfig
    from edge_node.daemon import Node

log = structlog.get_logger()


def run_node(config: NodeConfig) -> None:
    """Serve until SIGTERM or SIGINT, then let running answers finish; a second signal cuts them off. Blocks.

    SIGHUP has a new process of the program that is installed now load everything and take over, where systemd passed
    the socket. An origin that is away is no reason not to start: what is on the disk is served.

    Raises:
        ConfigError: the port is taken, or the data directory is in use or cannot be written.
    """
    # Before anything imports onnxruntime here, and inherited by every engine's process.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    asyncio.run(_serve_until_told(config))


class Signals:
    """What this process was told: to end, to end now, to be succeeded."""

    def __init__(self) -> None:
        self.end, self.hurry, self.succeed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def listen(self) -> None:
        """Take signals from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_end)
        loop.add_signal_handler(signal.SIGHUP, self.succeed.set)

    def _told_to_end(self) -> None:
        (self.hurry if self.end.is_set() else self.end).set()


async def _serve_until_told(config: NodeConfig) -> None:
    signals = Signals()
    signals.listen()
    heir = await heir_of(os.environ)
    passed = heir.listening if heir else passed_socket()
    async with running_node(config, passed=passed, heir=heir) as node:
        structlog.contextvars.bind_contextvars(node_id=node.node_id)
        log.info("node.started", url=node.url, node_id=node.node_id, data_dir=str(config.data_dir))
        works = [asyncio.create_task(keep_telling()), asyncio.create_task(keep_short())]
        notify("READY=1", f"STATUS=serving at {node.url}")
        succeeded = await _until_the_end(node, signals)
        if not succeeded:
            notify("STOPPING=1", "STATUS=finishing running answers")
        await node.drain(signals.hurry, successor=succeeded)
        for work in works:
            work.cancel()
    log.info("node.stopped")


async def _until_the_end(node: Node, signals: Signals) -> bool:
    """Wait; returns whether another process serves in this one's place."""
    while True:
        await first_of(signals.end, signals.succeed.wait())
        if signals.end.is_set():
            return False
        signals.succeed.clear()
        listening = node.listener.descriptor()
        if listening is None or not is_supervised():
            log.warning(
                "succession.refused",
                reason="only systemd, with a .socket unit, can follow a change of process",
            )
        elif await _succeeded(node, listening):
            return True


async def _succeeded(node: Node, listening: int) -> bool:
    """Have a new process take over; on any failure this one serves on."""
    notify("RELOADING=1", "STATUS=loading the program that is installed now")
    log.info("succession.began")
    try:
        successor = await start_successor(listening)
    except OSError as error:
        return _went_on(f"the program cannot be started: {error}")
    if not await successor.line.hears("warm", limit_s=WARM_LIMIT_S):
        await successor.dismiss()
        return _went_on("the new process ended, or loaded for too long; its log says why")
    await node.pause_works()
    await successor.line.say("yours")
    if not await successor.line.hears("serving", limit_s=TURN_LIMIT_S):
        await successor.dismiss()
        try:
            await node.resume_works()
        except ConfigError as error:  # a disk that broke meanwhile: what is loaded goes on answering
            log.error("works.not_resumed", reason=error.message)  # noqa: TRY400 - no traceback wanted
        return _went_on("the new process did not come to serve; its log says why")
    notify(f"MAINPID={successor.pid}", "READY=1", f"STATUS=process {successor.pid} serves")
    log.info("succession.ended", successor=successor.pid)
    successor.line.close()
    return True


def _went_on(reason: str) -> bool:
    log.error("succession.failed", reason=reason)
    notify("READY=1", f"STATUS=serving; the new program did not take over: {reason}")
    return False
