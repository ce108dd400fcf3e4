"""A running origin that serves bundles of this checkout, and machines to install them on."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.bootstrap import CONSTRAINTS, ROOT
from deploy.bundle.engine import portable_llama_wheel
from deploy.bundle.packing import write_bundle
from deploy.bundle.serving import KEY_LABEL, write_installer
from deploy.bundle.tree import make_tree
from deploy.cli.bundle import EXTRAS
from deploy.local.samples import chat_model
from registry.trust.keys import KeyDirectory
from tests.install.machine import HOST, Machine, why_not

PORT, NODES_PORT = 17700, 17743
VERSIONS = ("0.1.0+1", "0.1.0+2")
OWN = ("registry", "origin", "edge_node", "deploy")
FEATURES = ("avx2", "bmi2", "f16c", "fma")

SETTINGS = f"""
[store]
endpoint = "file://{{0}}/store"
keys_dir = "{{0}}/keys"
[origin]
host = "{HOST}"
port = {PORT}
nodes_port = {NODES_PORT}
insecure = true
keys_dir = "{{0}}/keys"
data_dir = "{{0}}/origin"
bundles_dir = "{{0}}/bundles"
"""


@pytest.fixture(scope="session", autouse=True)
def _possible():
    if reason := why_not():
        pytest.skip(f"no machine can be booted: {reason}")


def _tree():
    """The release's directory; what others made comes from a cache, what is ours from this checkout."""
    inputs = b"".join(path.read_bytes() for path in (ROOT / "pyproject.toml", CONSTRAINTS)) + EXTRAS.encode()
    cache = Path(os.environ.get("EDGEWARD_CACHE") or Path.home() / ".cache" / "edgeward")
    tree = cache / f"install-tree-{hashlib.sha256(inputs).hexdigest()[:12]}"
    if not tree.exists():
        scratch = tree.with_suffix(".part")
        shutil.rmtree(scratch, ignore_errors=True)
        wheels = (
            [Path(os.environ["EDGEWARD_PORTABLE_WHEEL"])] if "EDGEWARD_PORTABLE_WHEEL" in os.environ else []
        )
        make_tree(
            scratch,
            ROOT,
            extras=EXTRAS.split(","),
            wheels=wheels or [portable_llama_wheel()],
            constraints=CONSTRAINTS,
        )
        scratch.rename(tree)
    packages = next(tree.glob("lib/python3.*/site-packages"))
    for name in OWN:
        shutil.rmtree(packages / name, ignore_errors=True)
        shutil.copytree(ROOT / name, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tree


def _edgeward(directory, *words):
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", "--config", directory / "edgeward.toml", *words],
        capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def fleet(tmp_path_factory):
    """Keys, a published model and two bundles, served by an origin that nodes reach."""
    directory = tmp_path_factory.mktemp("fleet")
    (directory / "store").mkdir()
    (directory / "bundles").mkdir()
    (directory / "edgeward.toml").write_text(SETTINGS.format(directory))
    _edgeward(directory, "keys", "init")
    _edgeward(directory, "publish", str(chat_model()), "--name", "chat", "--version", "1.0.0")
    _edgeward(directory, "promote", "chat@1.0.0", "--channel", "stable")
    tree = _tree()
    (tree / "share").mkdir(exist_ok=True)
    shutil.copy(directory / "keys" / "root.json", tree / "share" / "root.json")
    signer = KeyDirectory(directory / "keys").detached(KEY_LABEL)
    bundles = {
        version: write_bundle(
            tree, directory / "bundles", version=version, cpu_features=FEATURES, signer=signer, level=1
        )
        for version in VERSIONS
    }
    write_installer(directory / "bundles", public_key=signer.public_hex, version=VERSIONS[0])
    return SimpleNamespace(
        directory=directory,
        bundles=bundles,
        url=f"http://{HOST}:{PORT}",
        nodes_url=f"https://{HOST}:{NODES_PORT}",
        revoke=lambda node_id: _edgeward(directory, "nodes", "revoke", node_id),
        token=lambda: next(
            word for word in _edgeward(directory, "token", "create").split() if word.startswith("ejt1.")
        ),
    )


@contextlib.contextmanager
def _running(fleet):
    with (fleet.directory / "origin.log").open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.cli", "--config", fleet.directory / "edgeward.toml", "origin", "serve"],
            stderr=sink, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
    try:
        until_s = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"{fleet.url}/healthz", timeout=2):
                    break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < until_s, (fleet.directory / "origin.log").read_text()[-2000:]
                time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def bare(tmp_path):
    """A freshly booted Debian with Python, and nothing of ours."""
    machine = Machine(tmp_path)
    try:
        machine.boot()
        yield machine
    finally:
        machine.remove()


@pytest.fixture
def machine(bare, fleet):
    """The same, with an origin in reach."""
    with _running(fleet):
        yield bare
