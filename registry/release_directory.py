"""A release on disk: `manifest.eaf` and `files/…`; written in place, made durable, read piece by piece.

A directory that holds some of the release's variants alone says which in `variants.json`, a list of their names.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from registry.durable import sync, write_durably
from registry.errors import DiskFullError, InputInvalidError, ManifestInvalidError
from registry.manifest import Part, decode_manifest, part_of
from registry.system_calls import start_writing
from registry.wire import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registry.manifest import Manifest, Piece

MANIFEST_NAME = "manifest.eaf"
FILES_NAME = "files"
HELD_NAME = "variants.json"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_BLOCK_BYTES = 512  # of st_blocks, whatever the file system


def read_held(directory: Path, manifest: Manifest) -> Part:
    """The variants that a directory holds.

    Raises:
        ManifestInvalidError: what it says is damaged.
    """
    try:
        names = from_json((directory / HELD_NAME).read_bytes(), tuple[str, ...])
        return part_of(manifest, names)
    except FileNotFoundError:
        return part_of(manifest)
    except InputInvalidError as error:
        raise ManifestInvalidError(f"{directory / HELD_NAME} is damaged: {error.message}") from error


def write_held(directory: Path, held: Part) -> None:
    """Say which variants a directory holds, durably; one that holds all says nothing."""
    place = directory / HELD_NAME
    if not held.is_whole:
        write_durably(place, to_json(held.variants))
    elif place.exists():
        place.unlink()
        sync(directory)


class ReleaseDirectory:
    """The files of one release below a directory, or of the part of it that is there."""

    def __init__(self, directory: Path, manifest: Manifest, part: Part | None = None) -> None:
        self.directory = directory
        self.manifest = manifest
        self.part = part_of(manifest) if part is None else part

    @classmethod
    def open(cls, directory: Path, manifest: Manifest) -> ReleaseDirectory:
        """A finished one, with what it says that it holds. Raises ManifestInvalidError."""
        return cls(directory, manifest, read_held(directory, manifest))

    @classmethod
    def read(cls, directory: Path) -> ReleaseDirectory:
        """A finished one, by the manifest that lies in it.

        Raises:
            InputInvalidError: the directory holds no release.
            ManifestInvalidError: its manifest, or what it says that it holds, is damaged.
        """
        try:
            manifest_bytes = (directory / MANIFEST_NAME).read_bytes()
        except OSError as error:
            raise InputInvalidError(
                f"{directory} holds no release: {MANIFEST_NAME} cannot be read ({error.strerror})",
                param="path",
            ) from error
        return cls.open(directory, decode_manifest(manifest_bytes))

    def file(self, number: int) -> Path:
        """Where a file of the manifest lies."""
        return self.directory / FILES_NAME / self.manifest.files[number].path

    def read_piece(self, piece: Piece) -> bytes:
        """The bytes of a piece; shorter when the file is. Raises OSError."""
        descriptor = os.open(self.file(piece.file), os.O_RDONLY | os.O_CLOEXEC)
        try:
            return b"".join(
                os.pread(descriptor, extent.length_bytes, extent.offset_bytes) for extent in piece.extents
            )
        finally:
            os.close(descriptor)

    def write_piece(self, piece: Piece, raw: bytes | memoryview) -> None:
        """Put the bytes of a piece into its file.

        Raises:
            DiskFullError: the disk has no room.
        """
        view = memoryview(raw)
        with full_disk_named(self.directory):
            descriptor = os.open(self.file(piece.file), os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                for offset, length in piece.extents:
                    _write_all(descriptor, view[:length], offset)
                    start_writing(descriptor, offset, length)
                    view = view[length:]
            finally:
                os.close(descriptor)

    def allocate(self) -> None:
        """Make every file of the part, at its full size, with its blocks taken.

        Raises:
            DiskFullError: the disk has no room for all of them; the message says how much is missing.
        """
        files = [(self.file(number), self.manifest.files[number]) for number in sorted(self.part.files)]
        for folder in {place.parent for place, _ in files}:
            folder.mkdir(parents=True, exist_ok=True)
        missing_bytes = 0
        for place, file in files:
            taken_bytes = place.stat().st_blocks * _BLOCK_BYTES if place.exists() else 0
            missing_bytes += max(0, file.size_bytes - taken_bytes)
        room = os.statvfs(self.directory)
        free_bytes = room.f_bavail * room.f_frsize
        if missing_bytes > free_bytes:
            raise DiskFullError(
                f"{self.manifest.name}@{self.manifest.version} needs {missing_bytes} more bytes in "
                f"{self.directory.parent}, and {free_bytes} are free; make room or choose another disk"
            )
        for place, file in files:
            with full_disk_named(self.directory):
                _allocate(place, file.size_bytes)

    def remove_others(self) -> None:
        """Remove the files that are not of the part."""
        for number in range(len(self.manifest.files)):
            if number not in self.part.files:
                self.file(number).unlink(missing_ok=True)

    def join(self, target: Path, held: Part) -> None:
        """Give the files of this part to a release that holds other variants; what was sealed here stays here.

        They are links, so that a crash in between loses nothing: the same is done again.
        """
        for number in sorted(self.part.files):
            place = target / FILES_NAME / self.manifest.files[number].path
            place.parent.mkdir(parents=True, exist_ok=True)
            _link(self.file(number), place)
        for folder, _, _ in os.walk(target / FILES_NAME, topdown=False):
            sync(Path(folder))
        write_held(target, held | self.part)  # only now do they count

    def seal(self, manifest_bytes: bytes) -> None:
        """Write the manifest and make all of it durable."""
        with full_disk_named(self.directory):
            descriptor = os.open(
                self.directory / MANIFEST_NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644
            )
            try:
                _write_all(descriptor, memoryview(manifest_bytes), 0)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            for number in self.part.files:
                sync(self.file(number))
            write_held(self.directory, self.part)
        for folder, _, _ in os.walk(self.directory, topdown=False):
            sync(Path(folder))


@contextmanager
def full_disk_named(directory: Path) -> Iterator[None]:
    """Turn the system's "no space" into our error."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        room = os.statvfs(directory)
        raise DiskFullError(
            f"no room left in {directory.parent}: {room.f_bavail * room.f_frsize} bytes are free; make room and "
            "fetch again, what has arrived is kept"
        ) from error


def _link(source: Path, place: Path) -> None:
    aside = place.with_name(f".{place.name}.joining")
    aside.unlink(missing_ok=True)
    if place.exists() and place.samefile(source):
        return  # before a crash; and renaming one name of a file to another of it leaves both (rename(2))
    try:
        aside.hardlink_to(source)
    except OSError as error:
        if error.errno not in {errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP}:
            raise
        source.replace(place)  # a file system without links: after a crash here this file is fetched again
        return
    aside.replace(place)


def _allocate(place: Path, size_bytes: int) -> None:
    descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        if os.fstat(descriptor).st_size > size_bytes:
            os.ftruncate(descriptor, size_bytes)
        if size_bytes:
            try:
                os.posix_fallocate(descriptor, 0, size_bytes)
            except OSError as error:
                if error.errno not in {errno.EOPNOTSUPP, errno.EINVAL}:
                    raise
                os.ftruncate(descriptor, size_bytes)  # a file system that cannot reserve blocks
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, view: memoryview, offset_bytes: int) -> None:
    while view:
        written = os.pwrite(descriptor, view, offset_bytes)
        view = view[written:]
        offset_bytes += written
