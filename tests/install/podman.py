"""Podman without a service: images, containers and networks in namespaces of their own, gone with the test."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PACKAGES = "podman runc netavark aardvark-dns slirp4netns"
COMPOSE = Path(sys.executable).with_name("podman-compose")
_PATIENCE_S = 60
_LIMIT_COUNT = 16_384
# Debian's crun refuses a machine that has cgroups of both versions, and a limit above this process's own is refused to
# one without CAP_SYS_RESOURCE; there is no systemd to ask for cgroups.
_CONTAINERS = """
[containers]
default_ulimits = ["nofile={limit}:{limit}", "nproc={limit}:{limit}"]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[network]
network_backend = "netavark"
network_config_dir = "{room}/networks"
"""
_STORAGE = """
[storage]
driver = "overlay"
graphroot = "{room}/images"
runroot = "{room}/run"
"""
# Whatever is mounted goes with the namespace. The resolver is slirp4netns's own.
_HOLD = """
mount --bind {room}/resolv.conf /etc/resolv.conf && mount -t tmpfs tmpfs /run && mkdir /run/lock && ip link set lo up \
  && echo held && exec sleep infinity
"""


def why_not() -> str:
    """Why containers cannot be run here; empty when they can."""
    for program in ("podman", "runc", "slirp4netns"):
        if shutil.which(program) is None:
            return f"there is no {program} (apt-get install {PACKAGES})"
    return "" if COMPOSE.exists() else "there is no podman-compose (pip install podman-compose)"


class Podman:
    """One podman with a network that no other process is in, which reaches out as an ordinary program would."""

    def __init__(self, room: Path) -> None:
        self._room = room
        (room / "networks").mkdir(parents=True)
        nofile_limit_count = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        limit_count = min(
            _LIMIT_COUNT, _LIMIT_COUNT if nofile_limit_count == resource.RLIM_INFINITY else nofile_limit_count
        )
        (room / "containers.conf").write_text(_CONTAINERS.format(room=room, limit=limit_count))
        (room / "storage.conf").write_text(_STORAGE.format(room=room))
        (room / "resolv.conf").write_text("nameserver 10.0.2.3\n")
        self._environ = os.environ | {
            "CONTAINERS_CONF": str(room / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(room / "storage.conf"),
        }
        self._holder = subprocess.Popen(
            ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", _HOLD.format(room=room)],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "held\n", "no namespaces can be made"
        with (room / "slirp.log").open("wb") as log:
            self._uplink = subprocess.Popen(
                ["slirp4netns", "--configure", "--disable-host-loopback", str(self._holder.pid), "tap0"],
                stdout=log, stderr=log,
            )  # fmt: skip
        until_s = time.monotonic() + _PATIENCE_S
        while not json.loads(self.inside("ip", "-json", "route", "show", "default").stdout or "[]"):
            assert time.monotonic() < until_s, (room / "slirp.log").read_text()
            time.sleep(0.1)

    def inside(
        self, *words: str | Path, check: bool = True, cwd: Path | None = None, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """A program of this machine in the network of the containers."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._holder.pid), "--net", "--mount", f"--wd={cwd or Path.cwd()}", "--", *words],
            capture_output=True, text=True, check=False, timeout=600, stdin=subprocess.DEVNULL,
            env=self._environ | environ,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(
                f"{words} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-3000:]}"
            )
        return done

    def podman(self, *words: str | Path) -> str:
        """What podman says."""
        return self.inside("podman", *words).stdout.strip()

    def close(self) -> None:
        """End every container, let go of the namespaces, and remove what lies on the disk."""
        self.inside("podman", "rm", "--force", "--all", "--time", "2", check=False)
        for process in (self._uplink, self._holder):
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()
        shutil.rmtree(self._room)
