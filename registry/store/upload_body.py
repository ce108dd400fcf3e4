"""UploadBody: bytes that an HTTP client reads a stretch at a time, so that its time limit is for each and not for all.

urllib3 sends what is a buffer by one `sendall`, and the limit of that is the one for opening a connection: a pack of
64 MiB would have to be through in three seconds. What can be read it sends by stretches.
"""

from __future__ import annotations

import io

STRETCH_BYTES = 256 * 1024


class UploadBody:
    """A view of a buffer as a file to read; nothing is copied."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._view = memoryview(data)
        self._position = 0

    def read(self, size_bytes: int = -1) -> memoryview:
        """The next bytes; none at the end. At least 256 KiB, if so many are left: urllib3 asks for 16 KiB at a time."""
        end = len(self._view) if size_bytes < 0 else self._position + max(size_bytes, STRETCH_BYTES)
        stretch = self._view[self._position : end]
        self._position += len(stretch)
        return stretch

    def seek(self, offset_bytes: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, as files do; the new one."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._view)}[whence]
        self._position = min(max(start + offset_bytes, 0), len(self._view))
        return self._position

    def tell(self) -> int:
        """How many bytes were read."""
        return self._position
