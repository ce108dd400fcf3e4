"""A running node: made out of its settings and of what this machine is and has kept; ended with its context."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from edge_node.daemon import Node
from edge_node.engine_plan import engine_room
from edge_node.engines.process import EngineProcess
from edge_node.enrolment.joining import enrolled
from edge_node.identity import fresh_id, take_identity
from edge_node.listener import Listener
from edge_node.machine import probe_machine, usable_bytes
from edge_node.model_store import ModelStore
from edge_node.speeds import SpeedTable
from edge_node.variant_choice import Machine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from edge_node.config import NodeConfig
    from edge_node.engines.spec import EngineSpec
    from edge_node.succession import Heir
    from edge_node.supervisor import Engine


@asynccontextmanager
async def running_node(
    config: NodeConfig,
    *,
    build: Callable[[EngineSpec], Engine] = EngineProcess,
    passed: socket.socket | None = None,
    heir: Heir | None = None,
) -> AsyncIterator[Node]:
    """A node that serves until the context is left; leaving cuts off what `Node.drain` did not wait for.

    Args:
        config: its settings.
        build: makes engines.
        passed: a socket that listens already; None opens the one of the settings.
        heir: given to a process that another node's started to take over from it.

    Raises:
        ConfigError: the port is taken, or the data directory is in use or cannot be written.
    """
    async with AsyncExitStack() as ends:
        listener = Listener(config, passed)
        store = ModelStore(config.data_dir)
        if heir is None:
            await asyncio.to_thread(store.open)
        ends.callback(store.close)
        machine = await asyncio.to_thread(probe_machine)
        speeds = await asyncio.to_thread(SpeedTable, config.data_dir)
        store.machine = Machine(
            memory_bytes=usable_bytes(machine, config.memory_limit_bytes),
            features=frozenset(machine.features) or None,
            speeds=speeds.speeds,
            context_tokens=config.context_tokens,
            room=engine_room(config, memory_bytes=machine.memory_bytes),
            variant=config.variant,
        )
        fresh = fresh_id(socket.gethostname(), secrets.token_hex(3))
        membership = await enrolled(config, fresh_id=fresh, now_unix_s=time.time)
        identity = take_identity(
            config.data_dir,
            node_id=membership.node_id if membership else config.node_id,
            fresh_id=fresh,
            now_unix_s=int(time.time()),
        )
        node = Node(config, identity, store, build, machine, membership, listener=listener)
        node.measures(speeds)
        await node.start(ends, heir)
        yield node
