"""The model that a recipe begins with: what kind it is, its files, and what they are named by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from origin.build.keys import key_of
from origin.build.step import MODEL_FILES, ArtifactKind
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_CONFIG = "config.json"
_TOKENIZER = "tokenizer.json"
_SUFFIXES = {".json", ".txt", ".safetensors", ".onnx", ".onnx_data", ".model", ".jinja"}
_READ_BYTES = 1 << 20
_CONFIG_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A model on the disk.

    Attributes:
        files: where each is, by the name that an artifact of this kind calls it.
        digests: SHA-256 of each, in hex.
    """

    kind: ArtifactKind
    files: Mapping[str, Path]
    digests: Mapping[str, str]

    @property
    def key(self) -> str:
        """What an artifact with these files is called."""
        return key_of({"kind": self.kind, "files": dict(self.digests)})

    @property
    def weights_sha256(self) -> str:
        """Of the file with the weights; what a lineage calls the root."""
        return self.digests[MODEL_FILES[self.kind]]

    @property
    def weights_bytes(self) -> int:
        """The size of the file with the weights."""
        return self.files[MODEL_FILES[self.kind]].stat().st_size


def find_source(path: Path, *, sha256: str = "") -> Source:
    """The model at a path: a GGUF file, or a directory with an ONNX model or safetensors.

    Raises:
        RecipeInvalidError: there is none, it is of no kind that is known here, or its weights are not those that
            `sha256` names.
    """
    if not path.exists():
        raise RecipeInvalidError(f"there is no file or directory {path} to build from", param="model.source")
    kind, files = _files_in(path) if path.is_dir() else _lone_file(path)
    for name, place in files.items():
        if not place.is_file():
            raise RecipeInvalidError(f"{place} ({name}) is not a file", param="model.source")
    digests = {name: digest_of_file(place) for name, place in sorted(files.items())}
    source = Source(kind=kind, files=files, digests=digests)
    if sha256 and source.weights_sha256 != sha256:
        raise RecipeInvalidError(
            f"{files[MODEL_FILES[kind]]} has the SHA-256 {source.weights_sha256}, and the recipe wants {sha256}: "
            "this is another model",
            param="model.sha256",
        )
    return source


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file, in hex.

    Raises:
        RecipeInvalidError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while data := file.read(_READ_BYTES):
                digest.update(data)
    except OSError as error:
        raise RecipeInvalidError(f"cannot read {path}: {error.strerror}", param="model.source") from error
    return digest.hexdigest()


def _lone_file(path: Path) -> tuple[ArtifactKind, dict[str, Path]]:
    if path.suffix == ".gguf":
        return "gguf", {MODEL_FILES["gguf"]: path}
    raise RecipeInvalidError(
        f"{path} is no source: name a .gguf file, or the directory of an ONNX or safetensors model, in which "
        f"{_CONFIG} and {_TOKENIZER} lie too",
        param="model.source",
    )


def _files_in(directory: Path) -> tuple[ArtifactKind, dict[str, Path]]:
    files = {
        path.name: path
        for path in sorted(directory.iterdir())
        if path.suffix in _SUFFIXES and not path.name.startswith(".") and path.is_file()
    }
    graphs = [name for name in files if name.endswith(".onnx")]
    if len(graphs) == 1:
        files[MODEL_FILES["onnx"]] = files.pop(graphs[0])
        return "onnx", _with_companions(directory, files)
    if MODEL_FILES["bert"] in files:
        return _family(directory), _with_companions(directory, files)
    raise RecipeInvalidError(
        f"{directory} is no source: it has {len(graphs)} .onnx files and no {MODEL_FILES['bert']}; one .onnx file, or "
        f"{MODEL_FILES['bert']}, is what can be built from",
        param="model.source",
    )


def _with_companions(directory: Path, files: dict[str, Path]) -> dict[str, Path]:
    for name in (_CONFIG, _TOKENIZER):
        if name not in files:
            raise RecipeInvalidError(
                f"{directory} has no {name}; put it beside the weights", param="model.source"
            )
    return files


def _family(directory: Path) -> ArtifactKind:
    path = directory / _CONFIG
    try:
        if path.stat().st_size > _CONFIG_LIMIT_BYTES:
            raise RecipeInvalidError(f"{path} is larger than 1 MiB", param="model.source")
        config = json.loads(path.read_bytes())
    except OSError as error:
        raise RecipeInvalidError(f"cannot read {path}: {error.strerror}", param="model.source") from error
    except (ValueError, RecursionError) as error:
        raise RecipeInvalidError(f"{path} is not JSON: {error}", param="model.source") from error
    said = config.get("model_type") if isinstance(config, dict) else None
    if said == "bert":
        return "bert"
    if said == "llama":
        return "llama"
    raise RecipeInvalidError(
        f"{path} says model_type {said!r}; safetensors of bert and llama can be built from",
        param="model.source",
    )
