"""Journal: which pieces of a partial release have been written, so that a killed fetch goes on where it was.

`EAFJ1`, the manifest's digest, then 4 bytes (little-endian) for each piece written. It is only a hint: a fetch that
resumes hashes every piece that the journal names, so a torn or stale journal costs time, never correctness.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from registry.columns import pack_u32, unpack_u32

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from registry.digest import Digest

_MAGIC = b"EAFJ1"
_RECORD_BYTES = 4


class Journal:
    """An append-only file of piece numbers."""

    def __init__(self, path: Path, manifest: Digest) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._header = _MAGIC + bytes.fromhex(manifest)

    def read(self) -> set[int]:
        """The pieces that were written before; empties a journal of another manifest."""
        size = os.fstat(self._descriptor).st_size
        if os.pread(self._descriptor, len(self._header), 0) != self._header:
            os.ftruncate(self._descriptor, 0)
            os.write(self._descriptor, self._header)
            return set()
        count = (size - len(self._header)) // _RECORD_BYTES
        os.ftruncate(self._descriptor, len(self._header) + count * _RECORD_BYTES)  # a torn last record
        records = os.pread(self._descriptor, count * _RECORD_BYTES, len(self._header))
        return set(unpack_u32(records))

    def append(self, pieces: Iterable[int]) -> None:
        """Note that these pieces were written; safe from several threads."""
        os.write(self._descriptor, pack_u32(pieces))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
