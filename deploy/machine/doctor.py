"""What is wrong with this machine as a node, found out before anybody has to ask: each finding with what to do."""

from __future__ import annotations

import json
import shutil
import socket
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from deploy.machine.layout import NODE, SOCKET
from deploy.machine.running import has_systemd, is_active, is_enabled
from deploy.unpack import cpu_features

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.machine.layout import Layout
    from edge_node.config import NodeConfig

Verdict = Literal["well", "warning", "bad"]
_FREE_LEAST_BYTES = 5 * 2**30
_SKEW_LIMIT_S = 60.0
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    what: str
    verdict: Verdict
    text: str


def examine(
    layout: Layout,
    config: NodeConfig,
    running: dict[str, Any] | None,
    *,
    skew_s: float | None,
    certificate_left_s: float | None,
) -> Iterator[Finding]:
    """Look at everything; what needs the network or a clock comes in as arguments.

    Args:
        layout: where the installation is.
        config: the node's settings, sound ones.
        running: what the node's `/readyz` says; None when nothing answers.
        skew_s: this machine's clock less the origin's; None when the origin did not answer.
        certificate_left_s: how long the node's certificate is good; None without one.
    """
    yield _program(layout)
    yield _processor(layout)
    yield from _service(layout)
    yield _token(layout)
    yield _disk(config)
    yield _names(config)
    yield _clock(skew_s)
    yield _certificate(certificate_left_s)
    yield _telemetry(layout)
    yield _process(running)


def _program(layout: Layout) -> Finding:
    if not layout.current.exists():
        return Finding("program", "bad", f"{layout.current} leads nowhere: run install.sh again")
    return Finding("program", "well", f"release {layout.current.resolve().name}")


def _processor(layout: Layout) -> Finding:
    manifest = layout.current / "manifest.json"
    if not manifest.is_file():
        return Finding("processor", "well", "the release asks for nothing")
    missing = sorted(set(json.loads(manifest.read_text())["cpu_features"]) - cpu_features())
    if missing:
        return Finding("processor", "bad", f"lacks {', '.join(missing)}, which the engine needs")
    return Finding("processor", "well", "has what the engine needs")


def _service(layout: Layout) -> Iterator[Finding]:
    if not has_systemd(layout):
        yield Finding("service", "warning", "systemd does not run here, so nothing starts the node again")
        return
    for unit in (SOCKET, NODE):
        if not is_active(unit):
            yield Finding("service", "bad", f"{unit} does not run: `systemctl status {unit}` says why")
        elif not is_enabled(unit):
            yield Finding(
                "service", "warning", f"{unit} does not start with the machine: systemctl enable {unit}"
            )
        else:
            yield Finding("service", "well", f"{unit} runs")
    done = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", NODE], capture_output=True, text=True, check=False
    )
    line = next((line for line in done.stdout.splitlines() if "exposure level" in line), "")
    level = line.rpartition(": ")[2].split(" ")[0]
    if level and float(level) > 2.0:
        yield Finding("sandbox", "warning", f"a drop-in opens the sandbox: exposure {level}, 1.4 without it")
    elif level:
        yield Finding("sandbox", "well", f"exposure {level}")


def _token(layout: Layout) -> Finding:
    try:
        mode = stat.S_IMODE(layout.token.stat().st_mode)
    except OSError:
        return Finding(
            "join token", "bad", f"{layout.token} is missing, and the unit wants it: touch it, mode 0600"
        )
    if mode & 0o077:
        return Finding(
            "join token", "bad", f"others may read {layout.token}: chmod 600, and revoke the token"
        )
    return Finding("join token", "well", "nobody else can read it")


def _disk(config: NodeConfig) -> Finding:
    place = config.data_dir
    while not place.exists():
        place = place.parent
    free_bytes = shutil.disk_usage(place).free
    text = f"{free_bytes / 1e9:.0f} GB free at {config.data_dir}"
    return Finding("disk", "well" if free_bytes >= _FREE_LEAST_BYTES else "warning", text)


def _names(config: NodeConfig) -> Finding:
    for url in config.origin:
        host = urlsplit(url).hostname or ""
        try:
            socket.getaddrinfo(host, None)
        except OSError as error:
            return Finding("names", "bad", f"{host}, of node.origin, has no address: {error}")
    return Finding("names", "well", "the origins have addresses")


def _clock(skew_s: float | None) -> Finding:
    if skew_s is None:
        return Finding(
            "origin", "bad", "it does not answer; what is on the disk is served on, and nothing new comes"
        )
    if abs(skew_s) > _SKEW_LIMIT_S:
        return Finding(
            "clock", "bad", f"{skew_s:+.0f} s against the origin's: set it, certificates are good for a day"
        )
    return Finding("origin", "well", f"answers; the clock is {skew_s:+.0f} s off")


def _certificate(left_s: float | None) -> Finding:
    if left_s is None:
        return Finding("fleet", "warning", "this node is in none: `edgeward node rejoin TOKEN`")
    if left_s < -30 * _DAY_S:
        return Finding("fleet", "bad", "the certificate ended over 30 days ago: `edgeward node rejoin TOKEN`")
    if left_s < 0:
        return Finding(
            "fleet", "warning", "the certificate has ended; a running node that reaches the origin renews it"
        )
    return Finding("fleet", "well", f"the certificate is good for {left_s / 3600:.0f} h and renews itself")


def _telemetry(layout: Layout) -> Finding:
    left = [
        path for path in (layout.state, Path.home()) if (path / ".cache/Microsoft/DeveloperTools").exists()
    ]
    if left:
        return Finding(
            "telemetry", "warning", f"ONNX Runtime left an id in {left[0]}/.cache/Microsoft: not this node's"
        )
    return Finding("telemetry", "well", "none")


def _process(running: dict[str, Any] | None) -> Finding:
    if running is None:
        return Finding("process", "bad", f"nothing answers: `journalctl -u {NODE}` says why")
    models = (
        ", ".join(f"{it['name']}@{it['version']} {it['state']}" for it in running["models"]) or "no model yet"
    )
    if running["draining"]:
        return Finding("process", "warning", f"stands aside (`edgeward node uncordon`); {models}")
    return Finding("process", "well" if running["ready"] else "warning", models)
