"""The container image, really built where there is a buildah: of a base made here, since no registry is asked."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from deploy.bootstrap import ROOT
from tests.install.conftest import VERSIONS
from tests.install.machine import debian

pytestmark = pytest.mark.install

BASE = "docker.io/library/debian:bookworm-slim"


@pytest.fixture
def buildah(tmp_path):
    """Runs buildah with a storage of its own; gives what it wrote."""
    if shutil.which("buildah") is None:
        pytest.skip("there is no buildah (apt-get install buildah)")

    def run(*words):
        done = subprocess.run(
            ["buildah", "--root", tmp_path / "images", "--runroot", tmp_path / "run", "--storage-driver", "vfs",
             *words],
            capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()

    yield run
    run("rm", "--all")
    run("rmi", "--all", "--force")


def test_the_image_is_built_and_its_program_runs_as_its_user(buildah, fleet, tmp_path):
    base = buildah("from", "scratch")
    mounted = buildah("mount", base)
    subprocess.run(["cp", "-a", f"{debian()}/.", mounted], check=True)
    buildah("umount", base)
    buildah("commit", "--quiet", base, BASE)
    context = tmp_path / "context"
    (context / "bundles").mkdir(parents=True)
    for path in (fleet.bundles[VERSIONS[0]], fleet.directory / "bundles" / "install.sh"):
        shutil.copy(path, context / "bundles")
    buildah(
        "build", "--isolation", "chroot", "--format", "docker", "--pull-never", "--build-arg", f"VERSION={VERSIONS[0]}",
        "-f", str(ROOT / "deploy/containers/Containerfile"), "-t", "edgeward", str(context),
    )  # fmt: skip
    made = buildah("from", "--pull-never", "localhost/edgeward")
    inside = ("run", "--isolation", "chroot", made, "--")
    assert buildah(*inside, "id", "-un") == "edgeward"
    assert buildah(*inside, "/usr/bin/edgeward", "--version").startswith("edgeward ")
    assert "fleet        none" in buildah(*inside, "/usr/bin/edgeward", "node", "status")
    facts = buildah(
        "inspect", "--type", "image", "--format", "{{.Docker.Config.Healthcheck}}", "localhost/edgeward"
    )
    assert "healthz" in facts
