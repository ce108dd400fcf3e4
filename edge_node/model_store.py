"""ModelStore: the releases on this node's disk, the lock on them, and what must be remembered over a restart.

    data_dir/
      node.lock                          held (flock) while the node runs; its pid is inside
      active.json                        what the origin wanted last, and what served last
      models/<name, / as ~>/<version>/   a whole release: manifest.eaf, files/...
      models/<name, / as ~>/.partial-*   a fetch under way, or one that was broken off
      prefixes/<name, / as ~>/<version>/ prefilled prefixes of a release; they go with it
      trash/                             on its way out; emptied at every start

A release's directory appears by one rename (`registry.fetch`) and goes by one rename (into `trash`), so a
crash at any time leaves whole releases, resumable fetches and trash, and nothing else. All calls block.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from msgspec import Struct

from edge_node.errors import VariantUnfitError
from edge_node.variant_choice import Machine, choose_variant, memory_bytes
from origin.api import WantedRelease
from registry.durable import make_folders, sync, write_durably
from registry.errors import ArtifactError, ConfigError, EdgewardError, InputInvalidError
from registry.fetch import FILES_NAME, MANIFEST_NAME, remove_stale_partials
from registry.manifest import content_digest, decode_manifest, manifest_digest
from registry.reference import check_name, check_version
from registry.release_directory import read_held
from registry.repair import MENDING
from registry.wire import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Self

    from registry.digest import Digest
    from registry.manifest import Manifest, Part, Variant

log = structlog.get_logger()


class Remembered(Struct, frozen=True, kw_only=True):
    """What a node knows from before its restart.

    Attributes:
        wanted: the origin's last word; None when it has never said.
        served: for each model the versions that served, the latest first.
    """

    wanted: tuple[WantedRelease, ...] | None = None
    served: dict[str, tuple[str, ...]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledRelease:
    """A release on the disk, whole as far as its variant to serve goes.

    Attributes:
        variant: the one to serve; `quantization` and `variant_bytes` are its.
        space_id: the space of its vectors (`registry.manifest.Variant`).
        memory_bytes: what its model is expected to take in an engine.
        files: its paths below `files_dir`.
        folder: the folder of the variant among the release's files; empty when it has none of its own.
        suits: whether it is the variant that this node should have; if not, that one is to be fetched.
        total_bytes: of all files that are here.
    """

    name: str
    version: str
    directory: Path
    kind: str
    variant: str = "default"
    quantization: str = ""
    variant_bytes: int = 0
    space_id: str = ""
    memory_bytes: int = 0
    files: tuple[str, ...]
    folder: str = ""
    suits: bool = True
    total_bytes: int
    created_unix_s: int
    manifest_sha256: Digest
    content_sha256: Digest
    files_sha256: tuple[str, ...] = ()

    @property
    def files_dir(self) -> Path:
        """Where the variant's files lie."""
        return self.directory / FILES_NAME / self.folder

    @property
    def release_paths(self) -> frozenset[str]:
        """The variant's files as the manifest calls them."""
        return frozenset(f"{self.folder}/{file}" if self.folder else file for file in self.files)


class ModelStore:
    """The releases below one data directory, which belongs to one running node.

    Attributes:
        prefixes: where engines keep prefilled prefixes, by release.
    """

    def __init__(self, data_dir: Path, machine: Machine | None = None) -> None:
        self.data_dir = data_dir
        self.machine = machine or Machine()
        self._models = data_dir / "models"
        self._trash = data_dir / "trash"
        self.prefixes = data_dir / "prefixes"
        self._lock_file = data_dir / "node.lock"
        self._lock: int | None = None

    def open(self) -> Self:
        """Take the directory for this process, and finish removals that a crash broke off.

        Raises:
            ConfigError: another node uses it, or it cannot be written.
        """
        try:
            make_folders(self._models)
            self._trash.mkdir(exist_ok=True)
            self._lock = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = self._lock_file.read_text("ascii", "replace").strip()[:20] or "unknown"
            self.close()
            raise ConfigError(
                f"{self.data_dir} is in use by another node (process {pid}): "
                "stop that one, or give this node a data_dir of its own"
            ) from error
        except OSError as error:
            self.close()
            raise ConfigError(f"cannot use {self.data_dir} as node.data_dir: {error}") from error
        with contextlib.suppress(
            OSError
        ):  # who holds the lock is for people; a full disk may have no room for it
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        self.empty_trash()
        self._remove_mending()
        return self

    def close(self) -> None:
        """Let another process have the directory."""
        if self._lock is not None:
            os.close(self._lock)  # the lock goes with the descriptor, after a crash too
            self._lock = None

    def path(self, name: str, version: str) -> Path:
        """Where a release lies or would lie.

        Raises:
            InputInvalidError: not a name and a version.
        """
        # A version cannot begin with a dot, so no release's directory looks like a fetch under way.
        return self._models / check_name(name).replace("/", "~") / check_version(version)

    def installed(self) -> tuple[InstalledRelease, ...]:
        """Every whole release, by name and version; what is not whole is thrown away.

        The check is cheap: the manifest decodes, and each file is there with its size.
        """
        found = []
        for directory in self._release_directories():
            try:
                found.append(self._inspect(directory))
            except (EdgewardError, OSError) as error:
                log.warning("release.discarded", directory=str(directory), reason=str(error))
                self._discard(directory)
        return tuple(sorted(found, key=lambda release: (release.name, release.version)))

    def inspect(self, name: str, version: str) -> InstalledRelease:
        """One release that should be whole.

        Raises:
            ArtifactError: it is not there or not whole.
        """
        try:
            return self._inspect(self.path(name, version))
        except OSError as error:
            raise ArtifactError(f"{name}@{version} on this node's disk is not whole: {error}") from error

    def replace_manifest(self, name: str, version: str, manifest_bytes: bytes) -> None:
        """Give an installed release a manifest of the same content, such as one of a later publish."""
        write_durably(self.path(name, version) / MANIFEST_NAME, manifest_bytes)

    def remove(self, name: str, version: str) -> None:
        """Delete a release that no engine uses; no error when it is gone already."""
        self._discard(self.path(name, version))

    def discard_partial(self, keep: Collection[tuple[str, str]]) -> None:
        """Delete what broken-off fetches left, but for these releases (names and versions)."""
        kept = [self.path(name, version) for name, version in keep]
        for model in sorted(self._models.iterdir()):
            if model.is_dir():
                remove_stale_partials(model, [target for target in kept if target.parent == model])

    def empty_trash(self) -> None:
        """Delete what was moved aside."""
        for entry in sorted(self._trash.iterdir()):
            _delete(entry)

    def _remove_mending(self) -> None:
        """Delete what a repair left that was killed between the files that it had mended and the end."""
        for entry in sorted(self._models.glob(f"*/{MENDING}*")):
            _delete(entry)

    def used_bytes(self) -> int:
        """What all releases and fetches take on the disk."""
        return sum(_allocated_bytes(directory) for directory in (self._models, self._trash))

    def free_bytes(self) -> int:
        """What is free on the disk for this process."""
        return shutil.disk_usage(self.data_dir).free

    def remember(self, remembered: Remembered) -> None:
        """Keep over restarts."""
        write_durably(self.data_dir / "active.json", to_json(remembered))

    def recall(self) -> Remembered:
        """What was kept; nothing when this is the first start or the file is damaged."""
        try:
            return from_json((self.data_dir / "active.json").read_bytes(), Remembered)
        except FileNotFoundError:
            return Remembered()
        except InputInvalidError as error:
            log.warning("memory.discarded", reason=error.message)
            return Remembered()

    def _release_directories(self) -> Iterator[Path]:
        for model in sorted(self._models.iterdir()):
            if model.is_dir():
                yield from (entry for entry in sorted(model.iterdir()) if not entry.name.startswith("."))

    def _inspect(self, directory: Path) -> InstalledRelease:
        data = (directory / MANIFEST_NAME).read_bytes()
        manifest = decode_manifest(data)
        if self.path(manifest.name, manifest.version) != directory:
            raise ArtifactError(f"{directory} holds {manifest.name}@{manifest.version}")
        held = read_held(directory, manifest)
        for number in held.files:
            file = manifest.files[number]
            status = (directory / FILES_NAME / file.path).lstat()
            if not stat.S_ISREG(status.st_mode) or status.st_size != file.size_bytes:
                raise ArtifactError(
                    f"{file.path} of {manifest.name}@{manifest.version} has {status.st_size} bytes, "
                    f"not {file.size_bytes}"
                )
        variant, suits = self._variant(manifest, held)
        folder = variant.name if all(it.path.startswith(f"{variant.name}/") for it in variant.files) else ""
        return InstalledRelease(
            name=manifest.name,
            version=manifest.version,
            directory=directory,
            kind=variant.kind,
            variant=variant.name,
            quantization=variant.quantization,
            variant_bytes=variant.total_bytes,
            space_id=variant.space_id,
            memory_bytes=memory_bytes(variant, self.machine),
            files=tuple(file.path.removeprefix(f"{folder}/") for file in variant.files),
            files_sha256=tuple(str(file.sha256) for file in variant.files),
            folder=folder,
            suits=suits,
            total_bytes=held.total_bytes,
            created_unix_s=manifest.created_unix_s,
            manifest_sha256=manifest_digest(data),
            content_sha256=content_digest(manifest),
        )

    def _variant(self, manifest: Manifest, held: Part) -> tuple[Variant, bool]:
        """The variant to serve of those that are here, and whether it is the one that suits this node best."""
        try:
            best = choose_variant(manifest, self.machine)
        except VariantUnfitError as error:  # what is here is served, as long as the machine lets it
            log.warning("variant.kept", release=f"{manifest.name}@{manifest.version}", reason=error.message)
            best = None
        if best is not None and best.name in held:
            return best, True
        return choose_variant(manifest, Machine(), among=held.variants), best is None

    def _discard(self, path: Path) -> None:
        # Renamed first: a removal that is broken off leaves trash, never half a release.
        # Not into a new directory: on a full disk there may be no room for one.
        aside = self._trash / f"{path.parent.name}~{path.name}~{secrets.token_hex(4)}"
        with contextlib.suppress(FileNotFoundError):
            path.rename(aside)
            sync(path.parent)
            _delete(aside)
        _delete(prefix_directory(self.prefixes, path))


def prefix_directory(root: Path, release: Path) -> Path:
    """Where the prefixes of a release lie below `root`; `release` is its own directory."""
    return root / release.parent.name / release.name


def _delete(entry: Path) -> None:
    """What cannot be deleted now stays for the next start."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            entry.unlink()


def _allocated_bytes(directory: Path) -> int:
    total_bytes = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # gone while we looked
                total_bytes += Path(folder, name).lstat().st_blocks * 512
    return total_bytes
