"""The directory of one installed release: an environment made of wheels that runs where it lies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from deploy.bundle.failing import BundleFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CFG = "home = /usr/bin\ninclude-system-site-packages = false\nversion = {version}\n"
_RUNTIME = ("libgomp.so.1",)
"""GCC's, under its runtime library exception."""
_SHOWN_LINES_COUNT = 15


def make_tree(
    tree: Path, source: Path, *, extras: Sequence[str], wheels: Sequence[Path], constraints: Path
) -> None:
    """Install Edgeward and its requirements into a new directory; fetches wheels, and compiles nothing.

    The directory is a virtual environment of whatever Python of the same version the target has as /usr/bin/python3:
    it is found by its own place, so it can be moved, and needs neither pip nor venv there.

    Args:
        tree: a directory that is not there yet.
        source: a checkout of Edgeward.
        extras: the optional parts, such as `node`.
        wheels: wheels to take rather than fetched ones, such as that of llama-cpp-python.
        constraints: the versions.

    Raises:
        BundleFailedError: pip failed.
    """
    python = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = tree / "lib" / python / "site-packages"
    packages.mkdir(parents=True)
    binaries = tree / "bin"
    binaries.mkdir()
    (binaries / "python").symlink_to(f"/usr/bin/{python}")
    version = ".".join(map(str, sys.version_info[:3]))
    (tree / "pyvenv.cfg").write_text(_CFG.format(version=version))
    links = [
        word
        for folder in sorted({str(wheel.parent) for wheel in wheels})
        for word in ("--find-links", folder)
    ]
    _pip(
        "install", "--upgrade", "--target", str(packages), "--prefer-binary", "-c", str(constraints), *links,
        f"edgeward[{','.join(extras)}] @ {source.as_uri()}",
    )  # fmt: skip
    _bring_runtime(packages)
    _compile(packages)


def _bring_runtime(packages: Path) -> None:
    """Put the compiler's own library beside the engine that needs it: a bare Debian has none."""
    engine = packages / "llama_cpp" / "lib"
    if not engine.is_dir():
        return
    needs = subprocess.run(["ldd", *engine.glob("*.so")], capture_output=True, text=True, check=False).stdout
    for line in needs.splitlines():
        name, arrow, rest = line.strip().partition(" => ")
        if name in _RUNTIME and arrow:
            shutil.copy(rest.split(" (")[0], engine / name)


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
        raise BundleFailedError("pip failed: " + " / ".join(lines[-_SHOWN_LINES_COUNT:]))


def _compile(packages: Path) -> None:
    """Byte code beside the sources, since a service may not write there; the same bytes for the same sources."""
    subprocess.run(
        [sys.executable, "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash", "-s",
         str(packages), str(packages)],
        check=False,  # some packages carry templates that are no Python
        capture_output=True,
        env=os.environ | {"PYTHONHASHSEED": "0"},
    )  # fmt: skip
