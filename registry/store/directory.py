"""DirectoryStore: a store in a directory, the keys as paths: for machines without a network, and for copies.

An object appears by one link or rename of a file that is whole and durable. Conditional replacements hold an `flock`
on `.lock`; whoever dies lets go of it. Everything below the directory belongs to the store.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from registry.digest import digest_of
from registry.errors import (
    ConfigError,
    DiskFullError,
    ObjectMissingError,
    PreconditionFailedError,
    StoreError,
)
from registry.store import ObjectInfo, StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEME = "file://"
_TEMPORARY = ".incoming"
_LOCK = ".lock"
_HASHED_BYTES = 1024 * 1024
"""Objects up to this size have their sha256 as etag; of larger ones, which never change, a listing reads no bytes."""
_NOT_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def open_directory(url: str) -> DirectoryStore:
    """The store behind `file:///path`.

    Raises:
        ConfigError: not such a URL, or the directory is not there.
    """
    parts = urlsplit(url)
    path = Path(unquote(parts.path))
    if parts.scheme != "file" or parts.netloc not in {"", "localhost"} or not path.is_absolute():
        raise ConfigError(f"{url!r} is not the URL of a directory: write file:///PATH with an absolute path")
    if not path.is_dir():
        raise ConfigError(f"there is no directory {path}; make it, or name another store")
    return DirectoryStore(path)


class DirectoryStore:
    """An `ObjectStore` in a directory, safe from several threads and processes of one machine."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._cleared = False

    def get(self, key: str) -> StoredObject:
        """The whole object."""
        with self._opened(key) as descriptor:
            status = os.fstat(descriptor)
            with os.fdopen(os.dup(descriptor), "rb") as file:
                data = file.read()
        return StoredObject(data, _etag(status, data))

    def get_range(self, key: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Exactly that range."""
        if offset_bytes < 0 or length_bytes < 1:
            raise StoreError(f"{length_bytes} bytes from {offset_bytes} on are no range of {key}")
        with self._opened(key) as descriptor:
            parts: list[bytes] = []
            missing_bytes = length_bytes
            while missing_bytes:
                part = os.pread(descriptor, missing_bytes, offset_bytes + length_bytes - missing_bytes)
                if not part:
                    raise StoreError(f"{key} is shorter than the range asked for")
                parts.append(part)
                missing_bytes -= len(part)
        return b"".join(parts)

    def head(self, key: str) -> ObjectInfo | None:
        """Size and etag."""
        try:
            return self._info(key)
        except ObjectMissingError:
            return None

    def put_if_absent(self, key: str, data: bytes | bytearray) -> bool:
        """Write an immutable object."""
        place = self._place(key)
        if place.exists():
            # Whoever wrote it may have been killed before its name was made to last.
            with self._failures_named(key):
                self._sync_folders(place)
            return False
        with self._incoming(data) as temporary:
            while True:
                with self._failures_named(key):
                    place.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(temporary, place)  # unlike a rename, it refuses to replace
                except FileExistsError:
                    self._sync_folders(place)
                    return False
                except FileNotFoundError:
                    continue  # the folder has just been removed
                except OSError as error:
                    raise self._refusal(key, error) from error
                self._sync_folders(place)
                return True

    def put_if_match(self, key: str, data: bytes, etag: str | None) -> str:
        """Replace the object that had this etag."""
        place = self._place(key)
        with self._incoming(data) as temporary, self._locked():
            before = self.head(key)
            if (None if before is None else before.etag) != etag:
                raise PreconditionFailedError(
                    f"someone else wrote {key} first; read it again and redo the change"
                )
            with self._failures_named(key):
                place.parent.mkdir(parents=True, exist_ok=True)
                status = temporary.stat()
                temporary.rename(place)
                self._sync_folders(place)
        return _etag(status, data)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key starts with the prefix, by key."""
        folder = self._root / prefix.rpartition("/")[0]
        keys = []
        for place, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            keys += [Path(place, name).relative_to(self._root).as_posix() for name in names]
        for key in sorted(key for key in keys if key.startswith(prefix) and not key.startswith(".")):
            with contextlib.suppress(ObjectMissingError):  # it went while we looked
                yield self._info(key)

    def delete(self, key: str) -> None:
        """Remove an object."""
        place = self._place(key)
        with self._locked(), self._failures_named(key):
            try:
                place.unlink()
            except _NOT_THERE:
                return
            self._sync(place.parent)

    def _place(self, key: str) -> Path:
        parts = key.split("/")
        if not key or any(not part or part.startswith(".") or "\0" in part for part in parts):
            raise StoreError(f"{key[:200]!r} is no key of an object in a directory")
        return self._root / PurePosixPath(*parts)

    def _info(self, key: str) -> ObjectInfo:
        with self._opened(key) as descriptor:
            status = os.fstat(descriptor)
            data = os.pread(descriptor, status.st_size, 0) if status.st_size <= _HASHED_BYTES else b""
        return ObjectInfo(key, status.st_size, _etag(status, data), status.st_mtime)

    @contextlib.contextmanager
    def _opened(self, key: str) -> Iterator[int]:
        try:
            descriptor = os.open(self._place(key), os.O_RDONLY | os.O_CLOEXEC)
        except _NOT_THERE as error:
            raise ObjectMissingError(f"the store has no object {key}") from error
        except OSError as error:
            raise self._refusal(key, error) from error
        try:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise ObjectMissingError(f"the store has no object {key}")
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _incoming(self, data: bytes | bytearray) -> Iterator[Path]:
        """A durable file that holds the data; what is left of it at the end goes.

        It is locked as long as it is in use, so that those that a kill left behind can be told and removed.
        """
        folder = self._root / _TEMPORARY
        with self._failures_named(_TEMPORARY):
            folder.mkdir(exist_ok=True)
            if not self._cleared:
                _remove_abandoned(folder)
                self._cleared = True
            place, descriptor = _locked_file(folder)
        try:
            with self._failures_named(str(place)), os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            yield place
        finally:
            place.unlink(missing_ok=True)
            os.close(descriptor)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._failures_named(_LOCK):
            lock = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _sync_folders(self, place: Path) -> None:
        for folder in place.parents:
            self._sync(folder)
            if folder == self._root:
                return

    @staticmethod
    def _sync(folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _failures_named(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._refusal(what, error) from error

    def _refusal(self, what: str, error: OSError) -> StoreError | DiskFullError:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            return DiskFullError(f"no room for {what} in {self._root}; make room and try again")
        return StoreError(f"the store in {self._root} cannot do this with {what}: {error.strerror or error}")


def _locked_file(folder: Path) -> tuple[Path, int]:
    """A new file, and its descriptor, by which it is locked."""
    while True:
        place = folder / secrets.token_hex(12)
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                return place, descriptor
        os.close(descriptor)  # somebody else took it for abandoned before it was locked


def _remove_abandoned(folder: Path) -> None:
    """Remove files that nobody has locked: whoever wrote them is gone."""
    for place in folder.iterdir():
        try:
            descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # its writer has just finished with it
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            place.unlink(missing_ok=True)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)


def _etag(status: os.stat_result, data: bytes) -> str:
    if status.st_size <= _HASHED_BYTES:
        return digest_of(data)
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
