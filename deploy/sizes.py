"""Sizes in words, for people."""

from __future__ import annotations

_KILO = 1000


def human_bytes(count: float) -> str:
    """A size in decimal units, such as `98.4 MB`."""
    for unit in ("B", "kB", "MB"):
        if count < _KILO:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _KILO
    return f"{count:.2f} GB"
