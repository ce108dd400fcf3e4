"""Publish: a file or a directory becomes a release, and a channel points at it.

Order of writes: packs, then the manifest, then the channel. The manifest is the commit: without it packs are just
bytes that nobody names, and the next try finds them there. A release never changes once its manifest is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

import structlog

from registry.catalog import Catalog
from registry.digest import Digest, digest_of
from registry.errors import InputInvalidError, ReleaseConflictError, ReleaseUnknownError
from registry.layout import manifest_key
from registry.manifest import Manifest, Piece, ReleaseFile, content_digest, encode_manifest, files_digest
from registry.progress import Progress, ProgressHook, ignore_progress
from registry.publish.confirm import settle
from registry.publish.counting import CountingStore
from registry.publish.intake import FileIntake, file_digest
from registry.publish.known_chunks import find_known_chunks
from registry.publish.pack_writer import PackWriter
from registry.publish.source_files import SourceFile, describe, find_files
from registry.reference import check_channel, check_name, check_version

if TYPE_CHECKING:
    from pathlib import Path

    from registry.store import ObjectStore

Outcome = Literal["published", "unchanged"]
_LABEL_LIMIT_CHARACTERS = 256

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReport:
    """What a publish did.

    Attributes:
        outcome: `unchanged` when the very same release was there already.
        total_bytes: size of the release's files.
        new_chunks_count: chunks that no earlier release had.
        uploaded_bytes: what was written to the store: packs and manifest.
        requests_count: calls to the store.
        channel: the channel that now points at this version; None when none was asked for, or when it points
            elsewhere because the release is not new.
    """

    name: str
    version: str
    outcome: Outcome
    total_bytes: int
    new_chunks_count: int
    chunks_count: int
    uploaded_bytes: int
    requests_count: int
    manifest_sha256: Digest
    channel: str | None


def publish(
    path: Path,
    *,
    name: str,
    version: str,
    store: ObjectStore,
    channel: str | None = "stable",
    variant: str | None = None,
    license_name: str = "",
    created_unix_s: int,
    progress: ProgressHook = ignore_progress,
) -> PublishReport:
    """Publish a model file, or all files of a directory. Blocks; reads each file once, in pieces.

    Args:
        path: the file or directory.
        name: of the model.
        version: of this release.
        store: where to.
        channel: made to point at the release, unless that is unchanged and the channel was there before.
        variant: the label of this form of the model; its quantization by default.
        license_name: such as `Apache-2.0`.
        created_unix_s: now.
        progress: hears how many bytes were read.

    Raises:
        InputInvalidError: a wrong name, version, channel or path.
        FormatInvalidError: a model file is damaged, or not what its name says.
        ReleaseConflictError: this version is published already, with other bytes.
        ArtifactError: a file changed while it was read.
        StoreError: the store failed; nothing is published, and trying again is safe.
    """
    _check_words(name, version, channel, variant, license_name)
    counting = CountingStore(store)
    job = _Publish(name, version, counting, find_files(path), variant, progress)
    remake = partial(job.read, license_name, created_unix_s)
    published = job.published()
    if published is None:
        made = remake()
        data = encode_manifest(made)
        if counting.put_if_absent(manifest_key(name, version), data):
            job.uploaded_bytes += len(data)
            data, made = settle(counting, data, made, remake)
            moved = _point(counting, name, channel, version, only_new=False)
            return job.report("published", data, made, moved)
        data, manifest = Catalog(counting).manifest(name, version)
        # Our own bytes are there when the answer to our first try was lost.
        outcome: Outcome = "published" if manifest == made else "unchanged"
        contents = content_digest(made)
    else:
        data, manifest = published
        outcome = "unchanged"
        contents = job.contents()
    if contents != content_digest(manifest):
        raise ReleaseConflictError(
            f"{name}@{version} is published already, with other files; a version never changes: choose a new one"
        )
    data, manifest = settle(counting, data, manifest, remake)
    moved = _point(counting, name, channel, version, only_new=outcome == "unchanged")
    return job.report(outcome, data, manifest, moved)


def _check_words(
    name: str, version: str, channel: str | None, variant: str | None, license_name: str
) -> None:
    check_name(name)
    check_version(version)
    if channel is not None:
        check_channel(channel)
    if max(len(variant or ""), len(license_name)) > _LABEL_LIMIT_CHARACTERS:
        raise InputInvalidError(
            f"a variant's or license's name has at most {_LABEL_LIMIT_CHARACTERS} characters"
        )


def _point(store: ObjectStore, name: str, channel: str | None, version: str, *, only_new: bool) -> str | None:
    if channel is None:
        return None
    catalog = Catalog(store)
    if catalog.move_channel(name, channel, version, only_new=only_new):
        log.info("channel.moved", name=name, channel=channel, version=version)
        return channel
    return channel if catalog.channels(name).get(channel) == version else None


class _Publish:
    """The state of one publish."""

    def __init__(
        self,
        name: str,
        version: str,
        store: CountingStore,
        files: list[SourceFile],
        variant: str | None,
        progress: ProgressHook,
    ) -> None:
        self.uploaded_bytes = 0
        self.new_chunks_count = 0
        self._name = name
        self._version = version
        self._store = store
        self._files = files
        self._variant = variant
        self._progress = progress
        self._done_bytes = 0
        self._total_bytes = sum(file.stamp.size_bytes for file in files)

    def published(self) -> tuple[bytes, Manifest] | None:
        """The release of this name and version, if there is one."""
        try:
            return Catalog(self._store).manifest(self._name, self._version)
        except ReleaseUnknownError:
            return None

    def contents(self) -> Digest:
        """The content digest of the files, without storing anything."""
        files = tuple(
            ReleaseFile(file.path, file.stamp.size_bytes, file_digest(file, self._advance))
            for file in self._files
        )
        described = describe(self._files, files, self._variant)
        return files_digest([(described.name, files)])

    def read(self, license_name: str, created_unix_s: int) -> Manifest:
        """Read the files, store the chunks that are new, and describe the release."""
        known = find_known_chunks(Catalog(self._store), self._store, self._name)
        pieces: list[Piece] = []
        files: list[ReleaseFile] = []
        with PackWriter(self._store, known) as packs:
            for number, file in enumerate(self._files):
                intake = FileIntake(file, known)
                for piece in intake.pieces():
                    chunk = packs.add(piece.digest, piece.raw_bytes, piece.stored)
                    pieces.append(Piece(chunk, number, piece.extents))
                    self._advance(piece.raw_bytes)
                files.append(ReleaseFile(file.path, file.stamp.size_bytes, intake.digest))
            chunks, stored_packs = packs.finish()
        self.uploaded_bytes += packs.uploaded_bytes
        self.new_chunks_count = packs.new_chunks_count
        return Manifest(
            name=self._name,
            version=self._version,
            created_unix_s=created_unix_s,
            license_name=license_name,
            variants=(describe(self._files, tuple(files), self._variant),),
            packs=stored_packs,
            chunks=chunks,
            pieces=tuple(pieces),
        )

    def report(self, outcome: Outcome, data: bytes, manifest: Manifest, channel: str | None) -> PublishReport:
        """What was done, also as a log line."""
        report = PublishReport(
            name=self._name,
            version=self._version,
            outcome=outcome,
            total_bytes=manifest.total_bytes,
            new_chunks_count=self.new_chunks_count,
            chunks_count=len(manifest.chunks),
            uploaded_bytes=self.uploaded_bytes,
            requests_count=self._store.requests_count,
            manifest_sha256=digest_of(data),
            channel=channel,
        )
        log.info(
            "release.published",
            name=report.name,
            version=report.version,
            outcome=outcome,
            total_bytes=report.total_bytes,
            new_chunks_count=report.new_chunks_count,
            uploaded_bytes=report.uploaded_bytes,
        )
        return report

    def _advance(self, length_bytes: int) -> None:
        self._done_bytes += length_bytes
        self._progress(Progress("publish", self._done_bytes, self._total_bytes))
