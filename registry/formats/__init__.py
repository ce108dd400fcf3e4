"""Model files: which format a file has, what its header says, and where it may be cut.

`inspect` is the door. A file's name and its first bytes must agree. Only headers are read, never the weights.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from registry.errors import FormatInvalidError, InputInvalidError
from registry.formats import gguf, onnx, safetensors
from registry.formats.file_format import FileFormat, FileKind, Span

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

__all__ = ["FileFormat", "FileKind", "Span", "inspect", "inspect_open"]

_READERS = {".gguf": gguf.read_format, ".safetensors": safetensors.read_format, ".onnx": onnx.read_format}
_LFS_POINTER = b"version https://git-lfs"
_WEB_PAGES = (b"<!DOCTYPE", b"<!doctype", b"<html", b"<HTML")


def inspect(path: Path) -> FileFormat:
    """Describe a model file, or any other file as kind `file`.

    Raises:
        FormatInvalidError: damaged, truncated, or not what its name says.
        InputInvalidError: there is no such file, or it cannot be read.
    """
    try:
        size = path.stat().st_size
        with path.open("rb", buffering=0) as file:
            return inspect_open(path.name, file, size)
    except OSError as error:
        raise InputInvalidError(f"cannot read {path}: {error.strerror or error}") from error


def inspect_open(name: str, file: BinaryIO, size: int) -> FileFormat:
    """`inspect` of an open file of `size` bytes that has this name; what reading it raises goes through."""
    suffix = PurePosixPath(name).suffix.lower()
    start = file.read(len(_LFS_POINTER))
    reader = _READERS.get(suffix)
    if start.startswith(gguf.MAGIC) and reader is None:
        reader = gguf.read_format
    if reader is None:
        return FileFormat(kind="file", spans=(Span(0, size),) if size else ())
    try:
        _refuse_stand_ins(start, suffix)
        return reader(file, size)
    except FormatInvalidError as error:
        raise FormatInvalidError(f"{PurePosixPath(name).name}: {error.message}") from error


def _refuse_stand_ins(start: bytes, suffix: str) -> None:
    """Name the usual things that lie where a model should."""
    if not start:
        raise FormatInvalidError(f"the file is empty, and a {suffix} file is not; download it again")
    if start.startswith(_LFS_POINTER):
        raise FormatInvalidError("this is a Git LFS pointer, not the model; run `git lfs pull` first")
    if start.startswith(_WEB_PAGES):
        raise FormatInvalidError("this is a web page, not a model; download the file itself")
