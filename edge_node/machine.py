"""What this machine has: cores, CPU features, memory, GPUs, within what its container may use of them."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from origin.api import GpuReport, MachineReport

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger()

_PATIENCE_S = 5.0
_UNLIMITED_BYTES = 1 << 60  # cgroup v1 says "none" by a number of about 2**63
_USABLE = 0.9
_MIB = 1024 * 1024


def probe_machine(root: Path = Path("/")) -> MachineReport:
    """Look at the machine. Blocks, for some seconds where a GPU's tools are slow.

    Args:
        root: where `proc` and `sys` are.
    """
    cpu = _read(root / "proc/cpuinfo")
    return MachineReport(
        cores_count=cores_count(root),
        processor=_field(cpu, "model name") or platform.machine(),
        features=tuple(sorted({*_field(cpu, "flags").split(), *_field(cpu, "Features").split()})),
        memory_bytes=memory_bytes(root),
        gpus=(*_nvidia_gpus(), *_vulkan_gpus()),
    )


def memory_bytes(root: Path = Path("/")) -> int:
    """The memory that this process may use: the machine's, or the least that its cgroups allow; 0 is unknown."""
    said = _field(_read(root / "proc/meminfo"), "MemTotal").partition(" ")[0]
    limits = [int(said) * 1024] if said.isdigit() else []
    for folder in _cgroups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limit = _read(folder / name).strip()
            if limit.isdigit() and int(limit) < _UNLIMITED_BYTES:
                limits.append(int(limit))
    return min(limits, default=0)


def usable_bytes(machine: MachineReport, limit_bytes: int) -> int | None:
    """The memory for all engines: what is configured, else nine tenths of what there is; None when nobody knows."""
    return limit_bytes or int(machine.memory_bytes * _USABLE) or None


def cores_count(root: Path = Path("/")) -> int:
    """The cores that this process may use: those that it may run on, or fewer by its cgroups' quota."""
    count = float(len(os.sched_getaffinity(0)))
    for folder in _cgroups(root, "cpu"):
        quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
        if not quota:
            quota, period = (_read(folder / f"cpu.cfs_{it}_us").strip() for it in ("quota", "period"))
        if quota.isdigit() and period.isdigit() and int(period):
            count = min(count, int(quota) / int(period))
    return max(1, int(count))


def _cgroups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's cgroup and all above it; in a container they may begin at the mount itself."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup"
        if controllers:  # version 1, with a hierarchy for each controller
            mount /= controller
        place = mount / path.strip("/")
        while place.is_relative_to(mount):
            yield place
            if place == mount:
                break
            place = place.parent


def _nvidia_gpus() -> Iterator[GpuReport]:
    query = ("nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits")
    for line in _lines_of(*query):
        name, _, memory = line.rpartition(",")
        if name and memory.strip().isdigit():
            yield GpuReport(name=name.strip(), runtime="cuda", memory_bytes=int(memory) * _MIB)


def _vulkan_gpus() -> Iterator[GpuReport]:
    kind = ""
    for line in _lines_of("vulkaninfo", "--summary"):
        key, _, value = line.partition("=")
        if key.strip() == "deviceType":
            kind = value.strip()
        # A software rasterizer is listed as a device of the CPU.
        if key.strip() == "deviceName" and not kind.endswith("_CPU"):
            yield GpuReport(name=value.strip(), runtime="vulkan")


def _lines_of(*command: str) -> list[str]:
    """What a program prints; nothing when it is not there or fails."""
    if shutil.which(command[0]) is None:
        return []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        log.warning("machine.not_probed", program=command[0], reason=str(error)[:300])
        return []
    return done.stdout.splitlines()


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""


def _field(text: str, key: str) -> str:
    """The value of the first line `key : value`."""
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and name.strip() == key:
            return value.strip()
    return ""
