"""A bundle as a Debian package: dpkg brings it, the bundle's own installer puts it in place."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.bundle.failing import BundleFailedError

_SOURCES = Path(__file__).parent.parent / "deb"
_SCRIPTS = ("postinst", "prerm", "postrm")


def write_deb(bundle: Path, installer: Path, directory: Path, *, version: str) -> Path:
    """Make the package; returns the file.

    Args:
        bundle: goes into it whole, with its signature.
        installer: `install.sh` with the key pinned.
        directory: where the package goes.
        version: of the release, and of the package.

    Raises:
        BundleFailedError: there is no dpkg-deb, or it failed.
    """
    if shutil.which("dpkg-deb") is None:
        raise BundleFailedError("there is no dpkg-deb here: packages are made on a Debian")
    architecture = _output("dpkg", "--print-architecture")
    target = directory / f"edgeward_{version}_{architecture}.deb"
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        root = Path(scratch)
        root.chmod(0o755)
        share = root / "usr/share/edgeward"
        share.mkdir(parents=True)
        os.link(bundle, share / bundle.name)
        shutil.copy(installer, share / "install.sh")
        control = root / "DEBIAN"
        control.mkdir()
        major, minor = sys.version_info[:2]
        text = (_SOURCES / "control.in").read_text("utf-8")
        for mark, value in (
            ("@VERSION@", version),
            ("@ARCHITECTURE@", architecture),
            ("@PYTHON@", f"{major}.{minor}"),
            ("@NEXT_PYTHON@", f"{major}.{minor + 1}"),
        ):
            text = text.replace(mark, value)
        (control / "control").write_text(text)
        for name in _SCRIPTS:
            shutil.copy(_SOURCES / name, control / name)
            (control / name).chmod(0o755)
        # What is in it is compressed already.
        _output("dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(target))
    return target


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BundleFailedError(f"{command[0]} failed: {' '.join(done.stderr.split())[-300:]}")
    return done.stdout.strip()
