"""Publish: a file or a directory becomes a release, and a channel points at it.

Order of writes: packs, then the manifest, then what is signed: the publisher's role, which names the manifest and the
channel, the snapshot, the timestamp. The timestamp is the commit: without it the rest are just bytes that nobody
vouches for, and the next try finds them there. A release never changes once it is signed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import structlog

from registry.catalog import Catalog
from registry.errors import InputInvalidError, ReleaseConflictError, ReleaseUnknownError
from registry.layout import manifest_key
from registry.manifest import (
    Manifest,
    Piece,
    ReleaseFile,
    content_digest,
    encode_manifest,
    files_digest,
    manifest_digest,
)
from registry.progress import Progress, ProgressHook, ignore_progress
from registry.publish.confirm import mend, settle
from registry.publish.counting import CountingStore
from registry.publish.delta_writer import DeltaWriter, NewChunk, choose_bases
from registry.publish.intake import FileIntake, file_digest, open_unchanged, read_cut
from registry.publish.known_chunks import find_known_chunks
from registry.publish.pack_writer import PackWriter
from registry.publish.variant_sources import VariantFiles, VariantSource, find_variants, same_files
from registry.reference import check_channel, check_name, check_version
from registry.system_calls import freed_memory_kept
from registry.trust.statements import role_of, statement_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.digest import Digest
    from registry.manifest import Variant
    from registry.trust.signed_store import SignedStore

__all__ = ["Outcome", "PublishReport", "VariantSource", "publish"]

Outcome = Literal["published", "unchanged"]
_LABEL_LIMIT_CHARACTERS = 256
_KEPT_BYTES = 16 * 1024 * 1024  # with 128 MiB a publish held 434 MB (tests/bench/bench_transfer.py)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReport:
    """What a publish did.

    Attributes:
        outcome: `unchanged` when the very same release was there already.
        variants: their names.
        total_bytes: size of the release's files.
        new_chunks_count: chunks that no earlier release had.
        uploaded_bytes: what was written to the store: packs, deltas and manifest, not the signed metadata.
        deltas_bytes: what of it are deltas.
        requests_count: calls to the store.
        channel: the channel that now points at this version; None when none was asked for, or when it points
            elsewhere because the release is not new.
    """

    name: str
    version: str
    outcome: Outcome
    variants: tuple[str, ...]
    total_bytes: int
    new_chunks_count: int
    chunks_count: int
    uploaded_bytes: int
    deltas_bytes: int
    requests_count: int
    manifest_sha256: Digest
    channel: str | None


@freed_memory_kept(_KEPT_BYTES)
def publish(
    path: Path | Sequence[VariantSource],
    *,
    name: str,
    version: str,
    store: SignedStore,
    channel: str | None = "stable",
    variant: str | None = None,
    license_name: str = "",
    parent: str | None = None,
    created_unix_s: int,
    progress: ProgressHook = ignore_progress,
) -> PublishReport:
    """Publish a model: a file, all files of a directory, or several variants. Blocks; reads each file once, in pieces.

    Args:
        path: the file or directory; or several, each of which becomes one variant.
        name: of the model.
        version: of this release.
        store: where to, with the keys to sign with.
        channel: made to point at the release, unless that is unchanged and the channel was there before.
        variant: the name of the one variant at a lone `path`; its quantization by default.
        license_name: such as `Apache-2.0`.
        parent: a release, such as `chat@1.2.0`, that this one was made from: it gets a delta, too.
        created_unix_s: now.
        progress: hears how many bytes of the files the store has for certain.

    Raises:
        InputInvalidError: a wrong name, version, channel or path.
        FormatInvalidError: a model file is damaged, or not what its name says.
        ReleaseConflictError: this version is published already, with other bytes.
        ReleaseYankedError: this version was withdrawn.
        KeyUnusableError: the keys to sign with are not here.
        TrustError: what is signed in the store is refused.
        ArtifactError: a file changed while it was read.
        StoreError: the store failed; nothing is published, and trying again is safe.
    """
    _check_words(name, version, channel, license_name)
    sources = [VariantSource(path=path, name=variant)] if isinstance(path, Path) else path
    signed = store.over(counting := CountingStore(store))
    job = _Publish(name, version, counting, signed, find_variants(sources), parent, progress)
    catalog = Catalog(signed)
    published = job.published()
    signed.publisher.require(role_of(name))
    if published is None:
        remake = partial(job.read, license_name, created_unix_s)
        made = remake()
        data = job.store(made)
        job.write_deltas(data, made)
        data, made = settle(counting, data, made, remake)
        try:
            catalog.add(name, version, statement_of(data), channel=channel)
        except ReleaseConflictError:
            contents = made.variants  # somebody else was quicker
        else:
            return job.report("published", data, made, channel)
        published = catalog.manifest(name, version)
    else:
        contents = job.contents()
    return job.unchanged(contents, *published, channel)


def _check_words(name: str, version: str, channel: str | None, license_name: str) -> None:
    check_name(name)
    check_version(version)
    if channel is not None:
        check_channel(channel)
    if len(license_name) > _LABEL_LIMIT_CHARACTERS:
        raise InputInvalidError(f"a license's name has at most {_LABEL_LIMIT_CHARACTERS} characters")


def _difference(contents: Sequence[Variant], manifest: Manifest) -> str:
    """How what is published differs from what should be."""
    there, wanted = set(same_files(manifest.variants)), set(same_files(contents))
    if there == wanted:
        return "the same files under other names; a version never changes"
    if there < wanted:
        names = ", ".join(variant.name for variant in manifest.variants)
        return (
            f"{len(there)} of these {len(wanted)} variants ({names}); a version never changes, and gets no variants "
            "later: publish all of them together under a new version"
        )
    return "other files; a version never changes"


class _Publish:
    """The state of one publish."""

    def __init__(
        self,
        name: str,
        version: str,
        store: CountingStore,
        signed: SignedStore,
        variants: list[VariantFiles],
        parent: str | None,
        progress: ProgressHook,
    ) -> None:
        self.uploaded_bytes = 0
        self.new_chunks_count = 0
        self.deltas_bytes = 0
        self._name = name
        self._version = version
        self._store = store
        self._catalog = Catalog(signed)
        self._variants = variants
        self._files = files = [file for variant in variants for file in variant.files]
        self._parent = parent
        self._progress = progress
        self._known: list[NewChunk] = []  # by the chunk's number
        self._done_bytes = 0
        self._total_bytes = sum(file.stamp.size_bytes for file in files)

    def published(self) -> tuple[bytes, Manifest] | None:
        """The release of this name and version, if there is one."""
        try:
            return self._catalog.manifest(self._name, self._version)
        except ReleaseUnknownError:
            return None

    def contents(self) -> tuple[Variant, ...]:
        """What would be published, without storing anything."""
        return self._described(
            [
                ReleaseFile(file.path, file.stamp.size_bytes, file_digest(file, self._advance))
                for file in self._files
            ]
        )

    def _described(self, files: list[ReleaseFile]) -> tuple[Variant, ...]:
        rest = iter(files)
        return tuple(variant.described([next(rest) for _ in variant.files]) for variant in self._variants)

    def read(self, license_name: str, created_unix_s: int) -> Manifest:
        """Read the files, store the chunks that are new, and describe the release."""
        if self._parent is not None:
            self._catalog.resolve(self._parent)  # before hours of work
        known = find_known_chunks(self._catalog.frozen(), self._store, self._name)
        pieces: list[Piece] = []
        files: list[ReleaseFile] = []
        with PackWriter(self._store, known, self._advance) as packs:
            for number, file in enumerate(self._files):
                intake = FileIntake(file, known)
                for piece in intake.pieces():
                    chunk = packs.add(piece.digest, piece.raw_bytes, piece.stored)
                    if chunk == len(self._known):
                        self._known.append(NewChunk(file.path, piece.cut))
                    pieces.append(Piece(chunk, number, piece.cut.extents))
                files.append(ReleaseFile(file.path, file.stamp.size_bytes, intake.digest))
            chunks, stored_packs = packs.finish()
        self.uploaded_bytes += packs.uploaded_bytes
        self.new_chunks_count = packs.new_chunks_count
        return Manifest(
            name=self._name,
            version=self._version,
            created_unix_s=created_unix_s,
            license_name=license_name,
            variants=self._described(files),
            packs=stored_packs,
            chunks=chunks,
            pieces=tuple(pieces),
        )

    def store(self, manifest: Manifest) -> bytes:
        """Store the manifest; its bytes."""
        data = encode_manifest(manifest)
        if self._store.put_if_absent(
            manifest_key(self._name, self._version, statement_of(data).sha256), data
        ):
            self.uploaded_bytes += len(data)
        return data

    def write_deltas(self, data: bytes, manifest: Manifest) -> None:
        """Store deltas from the last releases, and from the parent, where they pay."""
        bases = choose_bases(self._catalog.frozen(), self._name, self._version, self._parent)
        writer = DeltaWriter(self._store, data, manifest, self._known, self._raw)
        self.deltas_bytes = sum(writer.write(*base) for base in bases)
        self.uploaded_bytes += self.deltas_bytes

    def unchanged(
        self, contents: Sequence[Variant], data: bytes, manifest: Manifest, channel: str | None
    ) -> PublishReport:
        """The report on a release that was there before.

        Raises:
            ReleaseConflictError: it has other contents.
        """
        name, version = self._name, self._version
        if files_digest((it.name, it.files) for it in contents) != content_digest(manifest):
            raise ReleaseConflictError(
                f"{name}@{version} is published already, with {_difference(contents, manifest)}: choose a new one"
            )
        mend(self._store, data, manifest, partial(self.read, manifest.license_name, manifest.created_unix_s))
        if channel is not None and not self._catalog.move_channel(name, channel, version, only_new=True):
            channel = channel if self._catalog.channels(name).get(channel) == version else None
        return self.report("unchanged", data, manifest, channel)

    def _raw(self, chunk: NewChunk) -> bytes:
        file = next(file for file in self._files if file.path == chunk.path)
        with open_unchanged(file) as descriptor:
            return read_cut(file, descriptor, chunk.cut)

    def report(self, outcome: Outcome, data: bytes, manifest: Manifest, channel: str | None) -> PublishReport:
        """What was done, also as a log line."""
        report = PublishReport(
            name=self._name,
            version=self._version,
            outcome=outcome,
            variants=tuple(variant.name for variant in manifest.variants),
            total_bytes=manifest.total_bytes,
            new_chunks_count=self.new_chunks_count,
            chunks_count=len(manifest.chunks),
            uploaded_bytes=self.uploaded_bytes,
            deltas_bytes=self.deltas_bytes,
            requests_count=self._store.requests_count,
            manifest_sha256=manifest_digest(data),
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
            channel=channel,
        )
        return report

    def _advance(self, length_bytes: int) -> None:
        # What a garbage collection took away is read twice.
        self._done_bytes = min(self._done_bytes + length_bytes, self._total_bytes)
        self._progress(Progress("publish", self._done_bytes, self._total_bytes))
