"""The way back: what an installation put on this machine, taken away."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

from deploy.machine.layout import NODE, SOCKET, USER
from deploy.machine.running import has_systemd, is_active, run

if TYPE_CHECKING:
    from pathlib import Path

    from deploy.machine.layout import Layout


def uninstall(layout: Layout, *, purge: bool) -> list[Path]:
    """Stop the node and remove the program; returns what stays.

    Each step is done whatever the others found, so a second call finishes what a first one could not.

    Args:
        layout: where files are.
        purge: remove settings, models and the node's identity too, and its user.

    Raises:
        MachineUnfitError: the node cannot be stopped.
    """
    systemd = has_systemd(layout)
    if systemd:
        for unit in (NODE, SOCKET):
            if (layout.units / unit).exists() or is_active(unit):
                run("systemctl", "disable", "--now", "--quiet", unit)
    for path in (layout.units / NODE, layout.units / SOCKET, layout.sysusers, layout.command):
        path.unlink(missing_ok=True)
    shutil.rmtree(layout.program, ignore_errors=True)
    for unit in (NODE, SOCKET):
        shutil.rmtree(layout.drop_ins / f"{unit}.d", ignore_errors=True)
    kept = [layout.settings.parent, layout.state]
    if purge:
        for path in kept:
            shutil.rmtree(path, ignore_errors=True)
        if systemd:
            # The user owns nothing any more; one that is not there is no failure.
            subprocess.run(["userdel", USER], check=False, capture_output=True)
            subprocess.run(["groupdel", USER], check=False, capture_output=True)
    if systemd:
        run("systemctl", "daemon-reload")
        subprocess.run(["systemctl", "reset-failed", NODE, SOCKET], check=False, capture_output=True)
    return [path for path in kept if path.exists()]
