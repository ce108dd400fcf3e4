"""The files of an installation: units, launcher, user, settings. What the admin wrote is never written over."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.machine.layout import NODE, SOCKET
from registry.durable import write_durably

if TYPE_CHECKING:
    from deploy.machine.layout import Layout

SOURCES = Path(__file__).parent.parent
_UNITS = {NODE: "edgeward-node.service", SOCKET: "edgeward-node.socket"}
_PORT = 7710

LAUNCHER = """\
#!/bin/sh
# Runs the newest installed release, from its own directory, so that an upgrade changes nothing under its feet.
: "${EDGEWARD_NODE_DATA_DIR:=/var/lib/edgeward/node}"
EDGEWARD_LAUNCHER=/usr/bin/edgeward
export EDGEWARD_NODE_DATA_DIR EDGEWARD_LAUNCHER
exec "$(readlink -f /usr/lib/edgeward/current)/bin/python" -P -m deploy.cli "$@"
"""


def put_program_files(layout: Layout) -> None:
    """Units, launcher and the declaration of the user: each release brings its own."""
    for unit, source in _UNITS.items():
        _put(layout.units / unit, (SOURCES / "systemd" / source).read_bytes())
    _put(layout.sysusers, (SOURCES / "systemd" / "edgeward-node.sysusers").read_bytes())
    _put(layout.command, LAUNCHER.encode(), mode=0o755)


def put_settings(layout: Layout, *, origin: str) -> bool:
    """Write the settings with every key explained, unless there are some; returns whether they were written."""
    if layout.settings.exists():
        return False
    text = (SOURCES / "config" / "node.toml").read_text("utf-8")
    if origin:
        text = text.replace('# origin = ["http://127.0.0.1:7700"]', f'origin = ["{origin}"]')
    _put(layout.settings, text.encode())
    return True


def put_token(layout: Layout, token: str) -> None:
    """Keep the token where systemd alone reads it; the unit wants the file also when it is empty."""
    if token or not layout.token.exists():
        _put(layout.token, f"{token}\n".encode() if token else b"", mode=0o600)


def put_root(layout: Layout, release: Path) -> None:
    """Give the node the root of trust that the bundle brought, unless it has one."""
    brought, target = release / "share" / "root.json", layout.state / "node" / "root.json"
    if brought.is_file() and not target.exists():
        _put(target, brought.read_bytes())  # systemd gives the directory to the service's user


def put_address(layout: Layout) -> bool:
    """Have the socket listen where the settings say, so that there is one place to say it; whether that is another."""
    section = tomllib.loads(layout.settings.read_text("utf-8")).get("node", {})
    host, port = str(section.get("host", "127.0.0.1")), int(section.get("port", _PORT))
    place = layout.drop_ins / f"{SOCKET}.d" / "10-settings.conf"
    shown = f"[{host}]" if ":" in host else "127.0.0.1" if host == "localhost" else host
    data = (
        f"# Written by `edgeward node install` from {layout.settings}.\n"
        f"[Socket]\nListenStream=\nListenStream={shown}:{port}\n"
    ).encode()
    changed = place.exists() and place.read_bytes() != data
    _put(place, data)
    return changed


def put_gpu(layout: Layout) -> None:
    """Let the node use NVIDIA GPUs."""
    _put(
        layout.drop_ins / f"{NODE}.d" / "gpu.conf", (SOURCES / "systemd/edgeward-node-gpu.conf").read_bytes()
    )


def point(link: Path, target: Path) -> None:
    """Make a link lead elsewhere, in one step."""
    scratch = link.with_name(f".{link.name}.new")
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(target)
    scratch.rename(link)


def _put(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    write_durably(path, data, mode=mode)
