"""The units, by systemd itself: sound, and as closed as they are said to be."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parent.parent.parent / "deploy" / "systemd"

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")


def _exposure(unit):
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", "--no-pager", unit],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return float(re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)[1])


@pytest.mark.parametrize("name", ["edgeward-node.service", "edgeward-origin.service"])
def test_services_are_closed(name):
    assert _exposure(UNITS / name) <= 1.5


def test_gpus_cost_little(tmp_path):
    shutil.copy(UNITS / "edgeward-node.service", tmp_path)
    shutil.copy(UNITS / "edgeward-node.socket", tmp_path)
    drop_ins = tmp_path / "edgeward-node.service.d"
    drop_ins.mkdir()
    shutil.copy(UNITS / "edgeward-node-gpu.conf", drop_ins / "gpu.conf")
    assert 1.5 < _exposure(tmp_path / "edgeward-node.service") <= 2.0


def test_units_are_sound(tmp_path):
    for unit in ("edgeward-node.service", "edgeward-node.socket", "edgeward-origin.service"):
        text = (UNITS / unit).read_text("utf-8")
        # The command is not installed here; `tests/install` looks at the units as they are.
        (tmp_path / unit).write_text(text.replace("/usr/bin/edgeward", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", *sorted(tmp_path.iterdir())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "edgeward" in line]
