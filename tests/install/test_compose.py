"""The compose file, step by step as the words at its top say, run by podman; the images it builds on are made here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deploy.bootstrap import ROOT
from deploy.local.samples import chat_model
from tests.install.conftest import VERSIONS
from tests.install.machine import debian
from tests.install.podman import COMPOSE, Podman, why_not

pytestmark = pytest.mark.install

BASE = "docker.io/library/debian:bookworm-slim"
USER = 7710
_PATIENCE_S = 120
# The program of SeaweedFS's image; its own script, which gives the volume to a user of its own, is left out.
_STORE = f"""
FROM {BASE}
COPY weed /usr/bin/weed
VOLUME /data
WORKDIR /data
ENTRYPOINT ["/usr/bin/weed"]
"""


@pytest.fixture
def podman(tmp_path):
    if reason := why_not():
        pytest.skip(reason)
    made = Podman(tmp_path / "podman")
    yield made
    made.close()


@pytest.fixture
def here(fleet, tmp_path):
    """The directory of the compose file in a checkout, with keys, bundle and settings in place."""
    made = tmp_path / "checkout" / "deploy" / "containers"
    shutil.copytree(ROOT / "deploy" / "containers", made, ignore=shutil.ignore_patterns("keys", ".env"))
    bundles = tmp_path / "checkout" / "bundles"
    bundles.mkdir()
    for path in (fleet.bundles[VERSIONS[0]], fleet.directory / "bundles" / "install.sh"):
        shutil.copy(path, bundles)
    shutil.copytree(fleet.directory / "keys", made / "keys", ignore=shutil.ignore_patterns("trusted"))
    for path in (made / "keys", *(made / "keys").rglob("*")):
        os.chown(path, USER, -1)
    (made / ".env").write_text(
        f"EDGEWARD_VERSION={VERSIONS[0]}\n"
        f"EDGEWARD_STORE_ACCESS_KEY=store\nEDGEWARD_STORE_SECRET_KEY={os.urandom(16).hex()}\n"
    )
    return made


def _make_images(podman, here, room):
    tree = subprocess.Popen(["tar", "-C", debian(), "-c", "."], stdout=subprocess.PIPE)
    layer = room / "base.tar"
    with layer.open("wb") as sink:
        shutil.copyfileobj(tree.stdout, sink)
    tree.stdout.close()
    assert tree.wait() == 0
    podman.podman("import", "--quiet", layer, BASE)
    layer.unlink()
    image = re.search(r"image: (\S+seaweedfs:\S+)", (here / "compose.yml").read_text("utf-8"))
    store = room / "store"
    store.mkdir()
    shutil.copy(Path(sys.executable).with_name("weed"), store)
    (store / "Containerfile").write_text(_STORE)
    podman.podman("build", "--quiet", "--pull=never", "--tag", image[1], store)


def _until_answered(podman, room):
    """What `edgeward ask` prints, asked on the machine that the containers run on."""
    until_s = time.monotonic() + _PATIENCE_S
    while True:
        done = podman.inside(
            sys.executable, "-m", "deploy.cli", "ask", "--max-tokens", "8", "Hi",
            check=False, cwd=room, PYTHONPATH=str(ROOT),
        )  # fmt: skip
        if done.returncode == 0 and done.stdout.strip():
            return done.stderr
        assert time.monotonic() < until_s, done.stderr[-2000:]
        time.sleep(1)


def test_the_compose_file_runs_as_its_words_say(podman, here, tmp_path):
    def compose(*words, **environ):
        return podman.inside(COMPOSE, *words, cwd=here, **environ).stdout

    _make_images(podman, here, tmp_path)
    compose("up", "-d", "--build", "origin")
    model = f"{chat_model()}:/model.gguf:ro"
    publish = ("publish", "/model.gguf", "--name", "chat", "--version", "1.0.0")
    assert "published chat@1.0.0" in compose("run", "--rm", "-T", "-v", model, "origin", *publish)
    token = compose("run", "--rm", "-T", "origin", "token", "create").strip()
    assert token.startswith("ejt1.")
    compose("up", "-d", "node", EDGEWARD_JOIN_TOKEN=token)
    assert "chat@1.0.0" in _until_answered(podman, tmp_path)

    names = podman.podman("ps", "--format", "{{.Names}}").split()
    assert sorted(names) == ["edgeward_node_1", "edgeward_origin_1", "edgeward_store_1"]
    reach = "import socket, sys; socket.getaddrinfo(sys.argv[1], 80)"
    podman.podman("exec", "edgeward_node_1", "python3", "-c", reach, "origin")
    with pytest.raises(AssertionError, match="gaierror"):
        podman.podman("exec", "edgeward_node_1", "python3", "-c", reach, "store")

    compose("stop")
    assert podman.podman("ps", "--format", "{{.Names}}") == ""
    compose("start")
    _until_answered(podman, tmp_path)
    compose("down")
    compose("up", "-d")  # without a token: the node is in the fleet
    _until_answered(podman, tmp_path)

    compose("down", "-v")
    assert podman.podman("ps", "--all", "--quiet") == ""
    assert podman.podman("volume", "ls", "--quiet") == ""
    assert podman.podman("network", "ls", "--format", "{{.Name}}") == "podman"
