"""Origins that share over either bus, in this process and over a real NATS server."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket

import pytest

from deploy.local.child import stop_children
from deploy.local.nats import start_nats, write_settings
from origin.api import NodeReport
from origin.fleet import Fleet, FleetRules
from origin.sharing.config import SharingConfig
from origin.sharing.in_process import Hub, InProcessBus
from origin.sharing.messages import OriginCard
from origin.sharing.over_nats import NatsBus
from origin.sharing.sharing import Sharing
from tests.virtual_loop import VirtualLoop


def pytest_asyncio_loop_factories(config, item):
    """What happens in this process happens in virtual time."""
    if item.path.stem == "test_in_process":
        return {"virtual": VirtualLoop}
    return {"real": asyncio.SelectorEventLoop}


def now_s():
    return asyncio.get_running_loop().time()


async def until(true, within_s=5.0):
    """Wait until it holds; fails when it does not in time."""
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110  # fleets give no events
            await asyncio.sleep(0.005)


def rules_of(beat_s, **more):
    return FleetRules(heartbeat_s=beat_s, **more)


def report(node_id="paris", incarnation=1, number=0, **fields):
    return NodeReport(
        node_id=node_id, incarnation=incarnation, number=number, url=f"http://{node_id}.example:1", **fields
    )


class Member:
    """One origin without its web server."""

    def __init__(self, bus, name, rules):
        self.bus, self.fleet = bus, Fleet(rules)
        self.taken, self.refused, self.probed = [], [], []
        card = OriginCard(origin_id=secrets.token_hex(8), url=f"http://{name}.example")
        self.sharing = Sharing(
            bus,
            self.fleet,
            card,
            now_s,
            taken=self.taken.append,
            probed=self.probed.append,
            refused=self.refused.append,
        )
        self.task = asyncio.create_task(self.sharing.run())

    def states(self):
        return {s.report.node_id: s.state for s in self.fleet.view(now_s()).standings}

    def standing(self, node_id="paris"):
        standings = self.fleet.view(now_s()).standings
        return next((s for s in standings if s.report.node_id == node_id), None)

    async def end(self):
        self.task.cancel()
        await asyncio.wait([self.task])


class Pipe:
    """A TCP proxy that can be cut, or go silent as a dropped route does."""

    def __init__(self, port):
        self._to_port = port
        self._open = set()
        self._writers = set()
        self.silent = False
        self.refusing = False

    async def start(self):
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def _connected(self, reader, writer):
        self._writers.add(writer)
        try:
            if self.refusing:
                return
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
            self._writers.add(far_writer)
            pumps = [
                asyncio.create_task(self._pump(reader, far_writer)),
                asyncio.create_task(self._pump(far_reader, writer)),
            ]
            self._open.update(pumps)
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            return
        finally:
            writer.close()

    async def _pump(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                while self.silent:  # noqa: ASYNC110  # set by hand
                    await asyncio.sleep(0.01)
                writer.write(data)
                await writer.drain()
        writer.close()

    def cut(self):
        self.refusing = True
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def mend(self):
        self.refusing = self.silent = False

    async def stop(self):
        self.cut()
        for pump in self._open:
            pump.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        self._server.close()
        await self._server.wait_closed()


class InProcessNet:
    """Buses in this process."""

    beat_s = 1.0

    def __init__(self):
        self.hub = Hub(now_s)

    async def bus(self):
        return InProcessBus(self.hub)

    def cut(self, bus):
        bus.cut()

    def mend(self, bus):
        bus.mend()

    async def stop(self):
        pass


class NatsNet:
    """A real server, with a proxy before each origin."""

    beat_s = 0.4

    def __init__(self, directory, *, jetstream=True):
        self.directory, self.token, self.jetstream = directory, secrets.token_hex(16), jetstream
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.pipes = {}
        self.start()

    def start(self):
        data = self.directory / "nats" if self.jetstream else None
        settings = write_settings(self.directory / "nats.conf", self.port, self.token, data)
        self.server = start_nats(settings, self.directory / "nats.log")

    def kill(self):
        self.server.kill()

    async def bus(self, fleet="fleet", token=None):
        pipe = await Pipe(self.port).start()
        config = SharingConfig(
            servers=(f"nats://127.0.0.1:{pipe.port}",), fleet=fleet, token=token or self.token
        )
        bus = NatsBus(config, forget_after_s=3600, jitter=lambda: 0.5)
        self.pipes[bus] = pipe
        return bus

    def cut(self, bus):
        self.pipes[bus].cut()

    def mend(self, bus):
        self.pipes[bus].mend()

    async def stop(self):
        for pipe in self.pipes.values():
            await pipe.stop()
        if self.server.running:
            stop_children([self.server], 10)


class World:
    """Origins on one net."""

    def __init__(self, net):
        self.net, self.members, self.beat_s = net, [], net.beat_s

    async def join(self, name, *, nodes_limit_count=10_000, **how):
        rules = rules_of(self.beat_s, nodes_limit_count=nodes_limit_count)
        member = Member(await self.net.bus(**how), name, rules)
        self.members.append(member)
        return member

    async def pair(self):
        """Two origins that hear each other."""
        first, second = await self.join("first"), await self.join("second")
        await until(lambda: all(m.sharing.view().origins for m in (first, second)), 15)
        return first, second

    async def stop(self):
        for member in self.members:
            await member.end()
        await self.net.stop()


@pytest.fixture(name="until")
def until_():
    return until


@pytest.fixture(name="report")
def report_():
    return report


@pytest.fixture(name="now_s")
def now_s_():
    return now_s
