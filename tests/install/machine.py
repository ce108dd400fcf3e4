"""A Debian of its own: the real systemd in a container (systemd-nspawn), fresh for each test and gone after it."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

PACKAGES = "systemd,systemd-sysv,dbus,python3,curl,ca-certificates"
HOST, GUEST = "10.77.0.1", "10.77.0.2"
_PATIENCE_S = 90


def why_not() -> str:
    """Why machines cannot be booted here; empty when they can."""
    if os.geteuid() != 0:
        return "systemd-nspawn needs root"
    for program in ("systemd-nspawn", "debootstrap", "nsenter", "ip"):
        if shutil.which(program) is None:
            return f"there is no {program} (apt-get install systemd-container debootstrap iproute2)"
    return ""


def debian() -> Path:
    """A bare Debian 12 as a directory; made once, in a few minutes, from the distribution's mirror."""
    root = Path(os.environ.get("EDGEWARD_CACHE") or Path.home() / ".cache" / "edgeward") / "debian12"
    if not (root / "usr/bin/python3").exists():
        scratch = root.with_suffix(".part")
        shutil.rmtree(scratch, ignore_errors=True)
        subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", scratch],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        scratch.rename(root)
    return root


class Machine:
    """One machine: an overlay over the bare Debian, booted and stopped, reached by `nsenter`."""

    def __init__(self, scratch: Path, name: str = "ewtest") -> None:
        self.name = name
        self.root = scratch / "root"
        self.upper = scratch / "upper"
        self._work = scratch / "work"
        self._leader = 0
        self._process: subprocess.Popen[bytes] | None = None
        for path in (self.root, self.upper, self._work):
            path.mkdir(parents=True)
        subprocess.run(
            ["mount", "-t", "overlay", "overlay", "-o",
             f"lowerdir={debian()},upperdir={self.upper},workdir={self._work}", self.root],
            check=True,
        )  # fmt: skip

    def boot(self) -> None:
        """Start it, and wait until systemd says that all runs."""
        self._process = subprocess.Popen(
            ["systemd-nspawn", "-q", "-D", self.root, "-M", self.name, "--boot", "--register=no", "--keep-unit",
             "--network-veth", "--console=pipe"],
            stdin=subprocess.DEVNULL, stdout=(self.root.parent / "console").open("ab"), stderr=subprocess.STDOUT,
        )  # fmt: skip
        until_s = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until_s:
            self._leader = self._find_leader()
            if (
                self._leader
                and self.run("systemctl is-system-running", check=False).stdout.strip() == "running"
            ):
                break
            time.sleep(0.2)
        else:
            raise AssertionError(f"no boot: {(self.root.parent / 'console').read_text()[-2000:]}")
        subprocess.run(["ip", "addr", "replace", f"{HOST}/30", "dev", f"ve-{self.name}"], check=True)
        subprocess.run(["ip", "link", "set", f"ve-{self.name}", "up"], check=True)
        network = ["nsenter", "-t", str(self._leader), "-n"]
        subprocess.run([*network, "ip", "addr", "replace", f"{GUEST}/30", "dev", "host0"], check=True)
        subprocess.run([*network, "ip", "link", "set", "host0", "up"], check=True)

    def run(
        self, command: str, *, check: bool = True, timeout_s: float = 180
    ) -> subprocess.CompletedProcess[str]:
        """A shell command in the machine."""
        done = subprocess.run(
            ["nsenter", "-t", str(self._leader), "-m", "-u", "-i", "-n", "-p", "--root", "--wd", "--",
             "/usr/bin/env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "/bin/sh", "-c", command],
            capture_output=True, text=True, check=False, timeout=timeout_s, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(
                f"{command!r} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
            )
        return done

    def start(self, command: str) -> subprocess.Popen[str]:
        """A command in the network of the machine, run by the programs of this one."""
        return subprocess.Popen(
            ["nsenter", "-t", str(self._leader), "-n", "--", "/bin/sh", "-c", command],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def halt(self) -> None:
        """Stop it in good order."""
        if self._process is None:
            return
        if self._leader:
            self.run("systemctl poweroff", check=False)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process, self._leader = None, 0

    def remove(self) -> None:
        """Stop it and let go of its files."""
        self.halt()
        subprocess.run(["umount", "-l", self.root], check=False)

    def files(self) -> dict[str, str]:
        """Every file, link and directory with what it holds, but for what a running system writes by itself."""
        done = self.run(
            "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/log "
            "-o -path /var/tmp -o -path /var/lib/systemd \\) -prune -o -printf '%p %y %m %u %l %s\\n'"
        )
        return dict(line.split(" ", 1) for line in done.stdout.splitlines())

    def _find_leader(self) -> int:
        """The container's first process: a child of systemd-nspawn."""
        assert self._process is not None
        done = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self._process.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        return int(done.stdout.split()[0]) if done.stdout.split() else 0
