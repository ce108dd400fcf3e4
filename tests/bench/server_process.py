"""A server in a process of its own: `python FILE KIND PORT CORE`, which prints `ready` once it listens."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def server_process(file, kind, core, environment=None):
    """The server's port and process id, until the context is left."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, file, kind, str(port), str(core)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, **(environment or {})},
    )  # fmt: skip
    try:
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"{kind} did not start")
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()
