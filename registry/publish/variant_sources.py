"""The forms of a model that one publish makes variants of: which files each has, its name, and what it needs to run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from registry.errors import InputInvalidError
from registry.manifest import Needs, check_paths
from registry.publish.source_files import SourceFile, describe, find_files
from registry.reference import check_variant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from registry.manifest import ReleaseFile, Variant

DEFAULT_CONTEXT_TOKENS = 4096
"""What a node takes when it is not told, and the model was made for as much."""

_MIB = 1024 * 1024
# Measured beside weights and cache, SmolLM2 and MiniLM on x86-64: the process itself and the buffers to compute in.
_LLAMA_RUNTIME_BYTES = 96 * _MIB
_ONNX_RUNTIME_BYTES = 256 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantSource:
    """What one variant is made from.

    Attributes:
        path: a model file, or a directory with all files of one model.
        name: its quantization by default.
        features: of the CPU, in the kernel's words, without which it must not be run; nothing in a file says so.
        memory_bytes: what an engine was measured to take with it, and with a context of as many tokens as a node takes
            by itself; 0 lets it be estimated from the files.
        space_id: see `Variant`.
        lineage: see `Variant`.
    """

    path: Path
    name: str | None = None
    features: tuple[str, ...] = ()
    memory_bytes: int = 0
    space_id: str = ""
    lineage: bytes = b""


@dataclass(frozen=True, slots=True)
class VariantFiles:
    """One variant to be, with its files as they will be called in the release."""

    files: tuple[SourceFile, ...]
    draft: Variant

    def described(self, contents: Sequence[ReleaseFile]) -> Variant:
        """The variant, now that the digests of its files are known."""
        return replace(self.draft, files=tuple(contents))


def find_variants(sources: Sequence[VariantSource]) -> list[VariantFiles]:
    """What there is at each path. Of several variants, each has its files below a folder of its name.

    Raises:
        InputInvalidError: nothing to publish at a path, a name that is none, or one name twice.
        FormatInvalidError: a model file is damaged.
        ManifestInvalidError: paths that cannot be in one release.
    """
    if not sources:
        raise InputInvalidError("say what to publish: a file or a directory", param="path")
    found: list[VariantFiles] = []
    taken: dict[str, Path] = {}
    for source in sources:
        files = find_files(source.path)
        draft = _draft(files, source)
        earlier = taken.get(draft.name.casefold())
        if earlier is not None:
            raise InputInvalidError(
                f"{earlier} and {source.path} would both be the variant {draft.name}; name them: "
                f"--variant NAME={earlier} --variant OTHER={source.path}",
                param="variant",
            )
        taken[draft.name.casefold()] = source.path
        if len(sources) > 1:
            files = [replace(file, path=f"{draft.name}/{file.path}") for file in files]
        found.append(VariantFiles(tuple(files), draft))
    check_paths([file.path for variant in found for file in variant.files])
    return found


def same_files(variants: Sequence[Variant]) -> Iterator[frozenset[str]]:
    """Of each variant what its files hold, however they are called."""
    return (frozenset(file.sha256 for file in variant.files) for variant in variants)


def _draft(files: Sequence[SourceFile], source: VariantSource) -> Variant:
    draft = describe(files, (), source.name)
    return replace(
        draft,
        name=check_variant(draft.name),
        needs=_needs(files, draft, source),
        space_id=source.space_id,
        lineage=source.lineage,
    )


def _needs(files: Sequence[SourceFile], draft: Variant, source: VariantSource) -> Needs:
    # Whatever was measured, it is not less than what the files and the cache hold.
    files_bytes = sum(file.stamp.size_bytes for file in files)
    if draft.kind == "gguf":
        # Parts of a split file say the same; one file's header has it all.
        token_bytes = sum(file.format.cache_token_bytes for file in files if file.format.kind == "gguf")
        context_tokens = min(draft.context_tokens or DEFAULT_CONTEXT_TOKENS, DEFAULT_CONTEXT_TOKENS)
        held_bytes = files_bytes + context_tokens * token_bytes
        return Needs(
            engine="llama",
            memory_bytes=max(held_bytes, source.memory_bytes or held_bytes + _LLAMA_RUNTIME_BYTES),
            context_tokens=context_tokens,
            token_bytes=token_bytes,
            features=source.features,
        )
    if draft.kind == "onnx":
        # The runtime keeps weights in the form that it computes with beside those of the file.
        estimated_bytes = 2 * files_bytes + _ONNX_RUNTIME_BYTES
        memory_bytes = max(files_bytes, source.memory_bytes or estimated_bytes)
        return Needs(engine="onnx", memory_bytes=memory_bytes, features=source.features)
    return Needs(memory_bytes=files_bytes, features=source.features)
