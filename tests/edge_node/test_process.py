"""A node's process under something that passes it a socket, as systemd does, and listens to what it says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import aiohttp
import pytest

PROGRAM = """
import os, sys
from pathlib import Path
if len(sys.argv) > 2 and "EDGEWARD_SUCCEEDS" not in os.environ:
    os.environ["LISTEN_FDS"], os.environ["LISTEN_PID"] = "1", str(os.getpid())
    os.dup2(int(sys.argv[2]), 3)
if "EDGEWARD_SUCCEEDS" in os.environ and Path(sys.argv[1], "broken").exists():
    sys.exit("the new release is broken")
from edge_node.config import NodeConfig
from edge_node.process import run_node
from registry.log import configure_logging
configure_logging(service="node", form="json")
run_node(NodeConfig(port=0, origin=("http://127.0.0.1:9",), data_dir=Path(sys.argv[1])))
"""


class Manager:
    """Passes a socket, and hears what it is told."""

    def __init__(self, directory):
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listening.getsockname()[1]
        self.told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.told.bind(str(directory / "notify"))
        self._heard = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.directory = directory
        self._processes = []
        (directory / "node").mkdir()
        (directory / "program.py").write_text(PROGRAM)

    def start(self, *, supervised=True):
        environ = dict(os.environ)
        if supervised:
            environ |= {"NOTIFY_SOCKET": str(self.directory / "notify"), "WATCHDOG_USEC": "300000"}
        passed = os.dup(self.listening.fileno())
        os.set_inheritable(passed, True)
        with (self.directory / "log").open("ab") as sink:
            process = subprocess.Popen(
                [sys.executable, self.directory / "program.py", self.directory / "node", str(passed)],
                env=environ,
                pass_fds=(passed,),
                stderr=sink,
            )
        os.close(passed)
        self._processes.append(process)
        return process

    def _listen(self):
        with contextlib.suppress(OSError):
            while said := self.told.recv(4096).decode():
                for state in said.split("\n"):
                    self._heard.put(state)

    def hears(self, word):
        while not (state := self._heard.get(timeout=60)).startswith(word):
            pass
        return state

    def log(self):
        return (self.directory / "log").read_text()

    def close(self):
        self.listening.close()
        self.told.shutdown(socket.SHUT_RDWR)
        self.told.close()
        for process in self._processes:
            process.kill()
            process.wait()


@pytest.fixture
def manager(tmp_path):
    manager = Manager(tmp_path)
    yield manager
    manager.close()


def _end(pid):
    os.kill(pid, signal.SIGTERM)
    until_s = time.monotonic() + 30
    while time.monotonic() < until_s:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        status = Path(f"/proc/{pid}/stat")
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return  # where nobody is told of orphans, one stays as a name
        time.sleep(0.02)
    raise AssertionError(f"process {pid} did not end")


async def _asked(http, port):
    async with http.get(f"http://127.0.0.1:{port}/healthz") as reply:
        return reply.status, reply.headers.get("Connection")


async def test_a_new_process_takes_over_while_requests_go_on(manager):
    first = manager.start()
    await asyncio.to_thread(manager.hears, "READY=1")
    assert await asyncio.to_thread(manager.hears, "WATCHDOG=1")
    over, statuses = asyncio.Event(), []

    async def ask_on(*, kept):
        while not over.is_set():
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=not kept)) as http:
                for _ in range(20):
                    statuses.append((await _asked(http, manager.port))[0])
                    await asyncio.sleep(0.01)

    asking = [asyncio.create_task(ask_on(kept=number % 2 == 0)) for number in range(4)]
    first.send_signal(signal.SIGHUP)
    told = await asyncio.to_thread(manager.hears, "MAINPID=")
    assert await asyncio.to_thread(first.wait, 60) == 0
    over.set()
    await asyncio.gather(*asking)  # none of them was refused or cut off
    assert set(statuses) == {200}
    heir = int(told.removeprefix("MAINPID="))
    assert heir != first.pid
    async with aiohttp.ClientSession() as http:
        assert await _asked(http, manager.port) == (200, None)
    assert (manager.directory / "node" / "node.lock").read_text().strip() == str(heir)
    await asyncio.to_thread(_end, heir)
    assert "Traceback" not in manager.log()


async def test_a_new_process_that_fails_costs_nothing(manager):
    first = manager.start()
    await asyncio.to_thread(manager.hears, "READY=1")
    (manager.directory / "node" / "broken").touch()
    first.send_signal(signal.SIGHUP)
    assert await asyncio.to_thread(manager.hears, "RELOADING=1")
    assert "did not take over" in await asyncio.to_thread(manager.hears, "STATUS=serving;")
    async with aiohttp.ClientSession() as http:
        assert (await _asked(http, manager.port))[0] == 200
    assert first.poll() is None
    await asyncio.to_thread(_end, first.pid)


async def test_connections_wait_for_the_next_process_when_one_ends(manager):
    first = manager.start()
    await asyncio.to_thread(manager.hears, "READY=1")
    async with aiohttp.ClientSession() as http:
        assert await _asked(http, manager.port) == (200, None)
        first.send_signal(signal.SIGTERM)
        await asyncio.to_thread(manager.hears, "STOPPING=1")
        assert await asyncio.to_thread(first.wait, 60) == 0
        waiting = asyncio.create_task(_asked(http, manager.port))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        second = manager.start()
        assert (await waiting)[0] == 200
    await asyncio.to_thread(_end, second.pid)


async def test_without_a_manager_nothing_takes_over(manager):
    first = manager.start(supervised=False)
    async with aiohttp.ClientSession() as http:
        assert (await _asked(http, manager.port))[0] == 200
        first.send_signal(signal.SIGHUP)
        async with asyncio.timeout(20):
            while "succession.refused" not in manager.log():  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert (await _asked(http, manager.port))[0] == 200
    await asyncio.to_thread(_end, first.pid)
