"""Install, upgrade, go back: from an unpacked release to a node that runs it."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.machine import files
from deploy.machine.failing import MachineUnfitError
from deploy.machine.layout import NODE, SOCKET
from deploy.machine.running import has_systemd, is_active, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.machine.layout import Layout

READY_LIMIT_S = 60.0
_LOOK_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was asked for.

    Attributes:
        release: the unpacked release.
        origin: where nodes join and report; "" leaves it to the settings.
        token: to join with; "" for none.
        starts: whether the node is started.
        gpu: whether it gets GPUs.
    """

    release: Path
    origin: str = ""
    token: str = ""
    starts: bool = True
    gpu: bool = False


def install(
    layout: Layout, wishes: Wishes, probe: Callable[[], dict[str, Any] | None], say: Callable[[str], None]
) -> None:
    """Make this machine a node of a release, or have its node take that release; again and again if need be.

    Args:
        layout: where files go.
        wishes: what was asked for.
        probe: what the running node's `/readyz` says; None when nothing answers.
        say: shows progress to a person.

    Raises:
        MachineUnfitError: a step failed; where a release ran before, it runs again.
    """
    before = layout.current.resolve() if layout.current.exists() else None
    was = probe()
    moved = _put_files(layout, wishes, say)
    _switch(layout, wishes.release, before)
    if not has_systemd(layout):
        say("systemd does not run here: nothing was started")
        return
    run("systemd-sysusers", str(layout.sysusers))
    run("systemctl", "daemon-reload")
    if not wishes.starts:
        return
    try:
        _start(layout, moved=moved, say=say)
        _wait_until_well(wishes.release, probe, ready=bool(was and was["ready"]), say=say)
    except MachineUnfitError as error:
        if before is None or before == wishes.release:
            raise
        say(f"{error.message}: going back to {before.name}")
        _go_back(layout, before)
        raise MachineUnfitError(
            f"{wishes.release.name} did not become well, and {before.name} runs again: {error.message}"
        ) from error
    _forget_older(layout)


def _put_files(layout: Layout, wishes: Wishes, say: Callable[[str], None]) -> bool:
    """Put everything in place; gives whether the node is to listen elsewhere than before."""
    before = os.umask(
        0o022
    )  # the service's user runs and reads what root puts here, whatever root's shell says
    try:
        files.put_program_files(layout)
        if files.put_settings(layout, origin=wishes.origin):
            say(f"settings: {layout.settings}")
        files.put_token(layout, wishes.token)
        moved = files.put_address(layout)
        files.put_root(layout, wishes.release)
        if wishes.gpu:
            files.put_gpu(layout)
        return moved
    finally:
        os.umask(before)


def _switch(layout: Layout, release: Path, before: Path | None) -> None:
    if before is not None and before != release:
        files.point(layout.before, before)
    files.point(layout.current, release)


def _start(layout: Layout, *, moved: bool, say: Callable[[str], None]) -> None:
    run("systemctl", "enable", "--quiet", NODE, SOCKET)
    if moved and is_active(SOCKET):
        # A process hands its socket on as it is, so that an upgrade cannot move it.
        say(f"the node listens elsewhere from now on ({layout.settings}): it is started again")
        run("systemctl", "restart", "--no-block", SOCKET, NODE)
        return
    if is_active(NODE):
        say("the running node goes on answering while the new release loads")
        run("systemctl", "reload", NODE)
        return
    run("systemctl", "start", SOCKET)
    run("systemctl", "start", "--no-block", NODE)


def _wait_until_well(
    release: Path,
    probe: Callable[[], dict[str, Any] | None],
    *,
    ready: bool,
    say: Callable[[str], None],
) -> None:
    """Until the release answers, and where models were ready before, until they are again."""
    until_s = time.monotonic() + READY_LIMIT_S
    while time.monotonic() < until_s:
        now = probe()
        if now is not None and runs_release(release) and (now["ready"] or not ready):
            say(f"the node runs {release.name}" + ("" if now["ready"] else "; no model is ready yet"))
            return
        time.sleep(_LOOK_S)
    raise MachineUnfitError(
        f"the node is not well after {READY_LIMIT_S:.0f} s; `journalctl -u {NODE}` says why"
    )


def runs_release(release: Path) -> bool:
    """Whether the main process of the node is of this release."""
    pid = run("systemctl", "show", "--property=MainPID", "--value", NODE).strip()
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]
    except OSError:
        return False
    return line.decode().startswith(f"{release}/")


def _go_back(layout: Layout, before: Path) -> None:
    files.point(layout.current, before)
    # A new process that failed to take over left the old one as it was.
    if not runs_release(before):
        run("systemctl", "restart", "--no-block", NODE)


def _forget_older(layout: Layout) -> None:
    """Keep what runs and what ran before it."""
    kept = {link.resolve() for link in (layout.current, layout.before) if link.exists()}
    for release in layout.releases.iterdir():
        if release not in kept:
            shutil.rmtree(release, ignore_errors=True)
