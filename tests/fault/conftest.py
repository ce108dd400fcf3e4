"""A real network that is there to be broken, and what must hold of its processes, its disks and its logs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.local.network import SITES, LocalNetwork
from deploy.local.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

NODES = SITES[:2]
WANTED = [("chat", "1.0.0"), ("embed", "1.0.0")]


def _speaks_of(process: Path, directory: bytes) -> bool:
    """Whether a process was told of a directory."""
    for name in ("cmdline", "environ"):
        try:
            if directory in (process / name).read_bytes():
                return True
        except OSError:  # it has just ended
            return False
    return False


def processes_of(directory: Path) -> dict[int, str]:
    """The running processes that belong to a network, by id, other than this one."""
    found = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit() or int(process.name) == os.getpid():
            continue
        if _speaks_of(process, str(directory).encode()):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            found[int(process.name)] = command
    return found


def complaints_in(logs: Path) -> list[str]:
    """Lines of the logs that no kill excuses: tracebacks, requests that broke, panics."""
    signs = ("Traceback", '"exception"', "request.failed", "request.broke", "heartbeat.broke", "task.broke", "panic:",
             "never retrieved", "Task was destroyed", "Unclosed")  # fmt: skip
    return [
        f"{log.name}: {line[:600]}"
        for log in sorted(logs.glob("*.log"))
        for line in log.read_text("utf-8", "replace").splitlines()
        if any(sign in line for sign in signs)
    ]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, start_network) -> Iterator[LocalNetwork]:
    """Two nodes that serve two real models, with an empty home; it also marks all of their processes."""
    directory = tmp_path_factory.mktemp("broken")
    home = pytest.MonkeyPatch()
    home.setenv("HOME", str(directory))
    network = LocalNetwork(directory, free_ports(len(NODES), start_port=26_000))

    try:
        start_network(network, NODES)
        yield network
    finally:
        network.stop()
        home.undo()


@pytest.fixture
def fault_tools():
    """What a test needs to look at the damage."""
    return processes_of, complaints_in
