"""FileStamp: when, how long and which a file is; another stamp under the same name is another file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FileStamp = tuple[int, int, int]
"""Modified at (ns), length (bytes), inode."""


def file_stamp(path: Path) -> FileStamp | None:
    """The stamp of a file; None where none can be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
