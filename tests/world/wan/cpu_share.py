"""A share of one core for all processes of a host, by the kernel's CPU bandwidth control (cgroup v1 or v2)."""

from __future__ import annotations

from pathlib import Path

_V1, _V2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
_PERIOD_US = 20_000
"""Short, so that a share is a slow core rather than a quick one that stops and goes."""


def missing():
    """Why no share can be given here; an empty text where one can."""
    if (_V1 / "cpu.cfs_quota_us").exists():
        return ""
    controllers = _V2 / "cgroup.subtree_control"
    if controllers.exists() and "cpu" in controllers.read_text().split():
        return ""
    return "no CPU bandwidth control"


def give(name, pids, share):
    """Let these processes, and those that they start, have so much of one core together."""
    quota_us = max(1000, round(share * _PERIOD_US))
    v1 = (_V1 / "cpu.cfs_quota_us").exists()
    group = (_V1 if v1 else _V2) / name
    group.mkdir(exist_ok=True)
    if v1:
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota_us))
    else:
        (group / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
    for pid in pids:
        (group / "cgroup.procs").write_text(str(pid))


def remove(name):
    """Forget a share; its processes must have ended."""
    for root in (_V1, _V2):
        if (root / name / "cgroup.procs").exists():
            (root / name).rmdir()
