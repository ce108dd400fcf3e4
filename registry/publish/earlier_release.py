"""EarlierRelease: a published release, read chunk by chunk from the store: what new chunks are compared with."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections import OrderedDict
from typing import TYPE_CHECKING, cast

from registry.chunking import cut
from registry.digest import digest_of
from registry.errors import FormatInvalidError
from registry.formats import inspect_open
from registry.layout import pack_key
from registry.manifest import unpack_manifest
from registry.packing import decode_chunk

if TYPE_CHECKING:
    from typing import BinaryIO

    from registry.chunking import Segment
    from registry.digest import Digest
    from registry.manifest import Manifest
    from registry.store import ObjectStore

_KEPT_COUNT = 4


class EarlierRelease:
    """A release in the store; keeps a few chunks in memory."""

    def __init__(self, data: bytes, manifest: Manifest, store: ObjectStore) -> None:
        self.manifest = manifest
        self.plain = unpack_manifest(data)
        self._store = store
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    @property
    def digest(self) -> Digest:
        """The digest of its manifest."""
        return digest_of(self.plain)

    def chunk(self, number: int) -> bytes:
        """The raw bytes of a chunk."""
        kept = self._kept.get(number)
        if kept is None:
            chunk = self.manifest.chunks[number]
            key = pack_key(self.manifest.packs[chunk.pack].digest)
            stored = self._store.get_range(key, chunk.offset_bytes, chunk.stored_bytes)
            kept = self._kept[number] = bytes(decode_chunk(stored, chunk.digest, chunk.raw_bytes))
            if len(self._kept) > _KEPT_COUNT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(number)
        return kept

    def roles(self) -> dict[tuple[str, str], tuple[int, tuple[Segment, ...]]]:
        """For each file and role its chunk's number and segments, found by reading the headers again."""
        roles = {}
        for number, file in enumerate(self.manifest.files):
            places = {piece.extents: piece.chunk for piece in self.manifest.pieces if piece.file == number}
            try:
                form = inspect_open(file.path, cast("BinaryIO", _ReleaseFile(self, number)), file.size_bytes)
            except FormatInvalidError:  # published by a version that read it otherwise
                continue
            for piece in cut(form.spans):
                if piece.extents in places:
                    roles[file.path, piece.role] = (places[piece.extents], piece.segments)
        return roles


class _ReleaseFile(io.RawIOBase):
    """One file of the release, for readers of headers."""

    def __init__(self, release: EarlierRelease, file: int) -> None:
        super().__init__()
        self._release = release
        self._position = 0
        stretches = []
        for piece in release.manifest.pieces:
            before = 0
            for extent in piece.extents:
                if piece.file == file:
                    stretches.append((extent.offset_bytes, extent.length_bytes, piece.chunk, before))
                before += extent.length_bytes
        self._stretches = sorted(stretches)
        self._starts = [stretch[0] for stretch in self._stretches]

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is, from the start."""
        return True

    def seek(self, offset: int, _whence: int = 0, /) -> int:
        """Go to an offset from the start."""
        self._position = offset
        return offset

    def read(self, size: int = -1, /) -> bytes:
        """At most so many bytes from here on, all that there are."""
        out = bytearray()
        while len(out) < size:
            index = bisect_right(self._starts, self._position) - 1
            if index < 0:
                break
            start, length, chunk, before = self._stretches[index]
            inside = self._position - start
            if inside >= length:
                break
            begin = before + inside
            part = self._release.chunk(chunk)[begin : before + min(length, inside + size - len(out))]
            out += part
            self._position += len(part)
        return bytes(out)
