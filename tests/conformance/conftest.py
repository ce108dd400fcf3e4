"""A running node with real engines, and clients in environments of their own, made once and kept in a cache."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from deploy.local.network import SITES, LocalNetwork
from deploy.local.ports import free_ports

_DRIVE_LIMIT_S = 300
_DRIVERS = Path(__file__).parent / "drivers"


@pytest.fixture(scope="session")
def node_url(tmp_path_factory, start_network):
    """The base URL of one node that serves `chat` and `embed`."""
    network = LocalNetwork(tmp_path_factory.mktemp("conformance"), free_ports(1, start_port=25_000))
    try:
        start_network(network, SITES[:1])
        yield f"http://127.0.0.1:{network.ports.node(0)}"
    finally:
        network.stop()


@pytest.fixture
def drive(node_url, environment_with):
    """`drive(script, *requirements)`: runs a driver with these packages against the node; its asserts are the test."""

    def run(script, *requirements):
        python = environment_with(*requirements)
        settings = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "NO_PROXY": "127.0.0.1"}
        done = subprocess.run(
            [python, "-P", _DRIVERS / script, node_url],
            capture_output=True,
            text=True,
            timeout=_DRIVE_LIMIT_S,
            env=settings,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert done.stdout.strip().endswith("conforms")

    return run
