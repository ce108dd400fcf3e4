"""Which release of Edgeward runs here."""

from __future__ import annotations

import importlib.metadata
from contextlib import suppress


def software_version() -> str:
    """The release of the program that runs here."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version("edgeward")
    return "from source"
