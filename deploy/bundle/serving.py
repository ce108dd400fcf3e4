"""The directory that an origin serves: bundles, and the installer with the key of their signatures in it."""

from __future__ import annotations

from pathlib import Path

from registry.durable import write_durably

KEY_LABEL = "bundles"
_HERE = Path(__file__).parent.parent


def write_installer(directory: Path, *, public_key: str, version: str) -> Path:
    """Put `install.sh` beside the bundles; origins fill in where they are reached.

    Args:
        directory: of the bundles.
        public_key: 64 hex digits, which the installer will trust.
        version: what it installs when no other is asked for.
    """
    program = (_HERE / "unpack.py").read_text("utf-8")
    template = (_HERE / "install.sh").read_text("utf-8")
    script = (
        template.replace("@BUNDLE_KEY@", public_key)
        .replace("@VERSION@", version)
        .replace("@PROGRAM@\n", program)
    )
    target = directory / "install.sh"
    write_durably(target, script.encode())
    return target
