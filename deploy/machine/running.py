"""Other programs that an installation starts, and their refusals as one line."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from deploy.machine.failing import MachineUnfitError

if TYPE_CHECKING:
    from deploy.machine.layout import Layout


def run(*command: str) -> str:
    """What it wrote. Raises MachineUnfitError: it is not there, or failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise MachineUnfitError(f"{command[0]} cannot be started: {error.strerror}") from error
    if done.returncode:
        said = " ".join((done.stderr or done.stdout).split())[-400:]
        raise MachineUnfitError(f"`{' '.join(command)}` failed: {said}")
    return done.stdout


def has_systemd(layout: Layout) -> bool:
    """Whether systemd runs this machine; not so in a container or an image that is being made."""
    return str(layout.root) == "/" and (layout.root / "run/systemd/system").is_dir()


def is_active(unit: str) -> bool:
    """Whether a unit runs now."""
    return subprocess.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0


def is_enabled(unit: str) -> bool:
    """Whether a unit starts with the machine."""
    return subprocess.run(["systemctl", "is-enabled", "--quiet", unit], check=False).returncode == 0
