"""The parts of a manifest: variants with their files, packs, chunks, and the pieces of the files."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import msgpack

from registry.digest import Digest, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.chunking import Extent
    from registry.formats import FileKind


@dataclass(frozen=True, slots=True)
class ReleaseFile:
    """One file of a release; `path` is relative, with `/` between its parts."""

    path: str
    size_bytes: int
    sha256: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a machine must have to run a variant: measured where it was built, else estimated from its files.

    Attributes:
        engine: `llama` or `onnx`; empty when nothing here runs it.
        memory_bytes: for the weights, the cache of `context_tokens` tokens in f16, and room to compute.
        context_tokens: the context that `memory_bytes` counts with; 0 when there is no cache.
        token_bytes: what one more token of context takes.
        features: of the CPU, in the kernel's words, such as `avx2`; all of them.
    """

    engine: str = ""
    memory_bytes: int = 0
    context_tokens: int = 0
    token_bytes: int = 0
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One form of the model, such as one quantization, that can be run by itself.

    Attributes:
        name: such as `q4_k_m`.
        context_tokens: the longest context that the model was made for; 0 when unknown.
        parameter_count: 0 when unknown.
        abilities: hints, of `chat`, `completion`, `embedding`; the engine decides.
        needs: None in releases that were published before needs were counted.
        space_id: vectors may be compared with those of the same one alone; empty says nothing.
        lineage: see `registry.manifest.lineage`; empty when nobody said.
    """

    name: str
    kind: FileKind
    architecture: str = ""
    quantization: str = ""
    context_tokens: int = 0
    parameter_count: int = 0
    abilities: tuple[str, ...] = ()
    needs: Needs | None = None
    space_id: str = ""
    lineage: bytes = b""
    files: tuple[ReleaseFile, ...]

    @property
    def total_bytes(self) -> int:
        """The size of its files."""
        return sum(file.size_bytes for file in self.files)


class Pack(NamedTuple):
    """An object of the store that holds stored chunks; its digest is its name."""

    digest: Digest
    length_bytes: int


class Chunk(NamedTuple):
    """Bytes named by the digest of their raw form, and where their stored form lies; `pack` is an index."""

    digest: Digest
    raw_bytes: int
    pack: int
    offset_bytes: int
    stored_bytes: int


class Piece(NamedTuple):
    """Where the raw bytes of a chunk go: to these extents of one file, one after another.

    `chunk` and `file` are indexes, into `Manifest.chunks` and `Manifest.files`.
    """

    chunk: int
    file: int
    extents: tuple[Extent, ...]


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A release: one version of one model.

    Attributes:
        variants: at least one; their files share one directory, so no path occurs twice.
        packs: each is used by some chunk; other releases may use it as well.
        chunks: each digest once, each used by some piece.
        pieces: together they cover every file exactly.
    """

    name: str
    version: str
    created_unix_s: int
    license_name: str = ""
    variants: tuple[Variant, ...]
    packs: tuple[Pack, ...]
    chunks: tuple[Chunk, ...]
    pieces: tuple[Piece, ...]

    @cached_property
    def files(self) -> tuple[ReleaseFile, ...]:
        """The files of all variants, in their order."""
        return tuple(file for variant in self.variants for file in variant.files)

    @cached_property
    def total_bytes(self) -> int:
        """The size of all files together."""
        return sum(file.size_bytes for file in self.files)

    @cached_property
    def stored_bytes(self) -> int:
        """What all chunks take in their packs: about what a node without anything fetches."""
        return sum(chunk.stored_bytes for chunk in self.chunks)

    @property
    def kind(self) -> FileKind:
        """The first variant's kind; the same holds for the four properties that follow."""
        return self.variants[0].kind

    @property
    def architecture(self) -> str:
        """Such as `llama`; empty when the files do not say."""
        return self.variants[0].architecture

    @property
    def quantization(self) -> str:
        """Such as `Q4_K_M`; empty when there are no tensors."""
        return self.variants[0].quantization

    @property
    def context_tokens(self) -> int:
        """The longest context that the model was made for; 0 when unknown."""
        return self.variants[0].context_tokens

    @property
    def abilities(self) -> tuple[str, ...]:
        """Hints, of `chat`, `completion`, `embedding`."""
        return self.variants[0].abilities


def content_digest(manifest: Manifest) -> Digest:
    """What makes two publishes the same: the variants' names and files, not when or how they were packed."""
    return files_digest((variant.name, variant.files) for variant in manifest.variants)


def files_digest(variants: Iterable[tuple[str, Iterable[ReleaseFile]]]) -> Digest:
    """`content_digest` of a release that has these variants."""
    rows = sorted(
        [name, sorted([file.path, file.size_bytes, file.sha256] for file in files)]
        for name, files in variants
    )
    packed: bytes = msgpack.packb(rows)
    return digest_of(packed)
