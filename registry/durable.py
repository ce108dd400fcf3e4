"""What survives a power cut: files replaced as a whole, and names that last."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_durably(path: Path, data: bytes, *, mode: int | None = None) -> None:
    """Replace a file as a whole; when this returns, the new bytes are on the disk.

    One writer at a time: the temporary file's name is fixed, so that what a crash leaves is overwritten. `mode` says
    who may read it, from before the first byte is in it; None leaves that to the umask.
    """
    temporary = path.with_name(f".{path.name}.new")
    if mode is not None:
        temporary.unlink(missing_ok=True)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode))
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync(path.parent)


def make_folders(path: Path, mode: int = 0o777) -> None:
    """Make a directory, and those above it; when this returns, their names are on the disk."""
    missing = [path]
    while not missing[-1].parent.is_dir():
        missing.append(missing[-1].parent)
    if len(missing) > 1 or not path.is_dir():
        path.mkdir(mode, parents=True, exist_ok=True)
        for made in reversed(missing):
            sync(made.parent)


def sync(path: Path) -> None:
    """Make a file's bytes, or a directory's names, last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
