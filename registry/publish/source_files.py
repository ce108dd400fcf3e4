"""What there is to publish at a path: regular files, described by their formats, watched for changes."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import ArtifactError, InputInvalidError
from registry.formats import FileFormat, FileKind, inspect
from registry.manifest import ReleaseFile, Variant, check_paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What a directory is a model of, when it has files of several kinds.
_RANK: tuple[FileKind, ...] = ("gguf", "onnx", "safetensors", "file")


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the file system says of a file; a file that is written to gets another one."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int

    @classmethod
    def of(cls, result: os.stat_result) -> Stamp:
        """The stamp in a `stat`."""
        return cls(result.st_dev, result.st_ino, result.st_size, result.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to publish; `path` is its path in the release."""

    path: str
    location: Path
    stamp: Stamp
    format: FileFormat

    def check_unchanged(self, descriptor: int) -> None:
        """Refuse a file that is not what it was when it was described.

        Raises:
            ArtifactError: it was written to, or is another file now.
        """
        if Stamp.of(os.fstat(descriptor)) != self.stamp:
            raise ArtifactError(
                f"{self.location} was changed while it was published; publish again when it rests"
            )


def find_files(root: Path) -> list[SourceFile]:
    """The file at a path, or the regular files below a directory, by path. Hidden ones are left out.

    Raises:
        InputInvalidError: nothing there, nothing to publish, or something that must not be published.
        FormatInvalidError: a model file is damaged.
    """
    if not root.exists():
        raise InputInvalidError(f"there is no file or directory {root}", param="path")
    found = sorted(_walk(root, root.resolve())) if root.is_dir() else [(root.name, root)]
    if not found:
        raise InputInvalidError(
            f"the directory {root} has no files to publish (hidden ones are left out)", param="path"
        )
    check_paths([path for path, _ in found])
    files = []
    for path, location in found:
        result = location.stat()
        if not stat.S_ISREG(result.st_mode):
            raise InputInvalidError(
                f"{location} is not a regular file; publish files and directories", param="path"
            )
        files.append(SourceFile(path, location, Stamp.of(result), inspect(location)))
    if not any(file.stamp.size_bytes for file in files):
        raise InputInvalidError(f"{root} has no bytes to publish", param="path")
    _check_companions(files)
    return files


def describe(files: Sequence[SourceFile], contents: tuple[ReleaseFile, ...], name: str | None) -> Variant:
    """The one variant that these files make; its name is the quantization's unless one is given."""
    main = min(
        files, key=lambda file: (_RANK.index(file.format.kind), -file.stamp.size_bytes, file.path)
    ).format
    abilities = main.abilities
    if main.kind == "onnx" and any(file.path.rpartition("/")[2] == "tokenizer.json" for file in files):
        abilities = ("embedding",)
    return Variant(
        name=name or main.quantization.lower() or "default",
        kind=main.kind,
        architecture=main.architecture,
        quantization=main.quantization,
        context_tokens=main.context_tokens,
        parameter_count=sum(file.format.parameter_count for file in files if file.format.kind == main.kind),
        abilities=abilities,
        files=contents,
    )


def _walk(directory: Path, root: Path) -> Iterator[tuple[str, Path]]:
    prefix_count = len(directory.parts)

    def refuse(error: OSError) -> None:
        raise InputInvalidError(f"cannot read {error.filename}: {error.strerror}", param="path") from error

    for folder, folders, names in os.walk(directory, onerror=refuse, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        place = Path(folder)
        for name in folders:
            if place.joinpath(name).is_symlink():
                raise InputInvalidError(
                    f"{place / name} is a link to a directory; put the files there", param="path"
                )
        for name in sorted(names):
            location = place / name
            if name.startswith("."):
                continue
            if location.is_symlink() and not location.resolve().is_relative_to(root):
                raise InputInvalidError(
                    f"{location} is a link that leaves {directory}; put the file there", param="path"
                )
            if not location.exists():
                raise InputInvalidError(f"{location} is a link to nothing; remove it", param="path")
            yield "/".join(location.parts[prefix_count:]), location


def _check_companions(files: Sequence[SourceFile]) -> None:
    paths = {file.path for file in files}
    for file in files:
        folder = file.path.rpartition("/")[0]
        for companion in file.format.companions:
            needed = f"{folder}/{companion}" if folder else companion
            if needed not in paths:
                raise InputInvalidError(
                    f"{file.path} keeps weights in {needed}, which is not among the files; publish the directory that "
                    "has both",
                    param="path",
                )
