"""About how large what a step makes will be: for plans, from the shapes in the source's header and bits of types."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from registry.errors import EdgewardError
from registry.formats import inspect
from registry.formats.ggml_tables import GGML_TYPES
from registry.formats.gguf import read_header

if TYPE_CHECKING:
    from pathlib import Path

    from origin.build.step import ArtifactKind, Step

_EMBEDDING = "token_embd.weight"
# Mixtures of llama.cpp, as it makes them of models whose rows are multiples of 256; others come out larger.
_MIXTURE_BITS = {
    "Q2_K": 3.0, "Q3_K_S": 3.5, "Q3_K_M": 3.9, "Q3_K_L": 4.3, "Q4_K_S": 4.6, "Q4_K_M": 4.9, "Q5_K_S": 5.5,
    "Q5_K_M": 5.7, "Q6_K": 6.6, "IQ4_XS": 4.3,
}  # fmt: skip
_USUAL_EMBEDDING_BITS = 8.5
_SAME = {"distill", "qat", "sparsify", "distill_encoder", "sparsify_encoder"}
_TABLE_BITS = {"float": 32.0, "rows8": 8.1, "blocks4": 4.5}
_SCALE_BITS = 16.0


class Size(NamedTuple):
    """A model's size.

    Attributes:
        weights_bytes: of the file with the weights.
        weights_count: numbers in matrices other than the embedding.
        embedding_count: numbers in the table of token vectors.
        rest_bytes: what is no weight, such as a vocabulary.
    """

    weights_bytes: int
    weights_count: int
    embedding_count: int
    rest_bytes: int


def size_of(kind: ArtifactKind, weights: Path) -> Size | None:
    """The size of a model on the disk; None when its header does not say enough."""
    with suppress(EdgewardError, OSError, ValueError, KeyError):
        if kind == "gguf":
            return _size_of_gguf(weights)
        if kind in {"bert", "llama"}:
            return _size_of_checkpoint(weights)
    return None


def expected_size(step: Step, size: Size) -> Size | None:
    """About how large what a step makes of a model of this size will be; None when nobody knows."""
    op = step.__struct_config__.tag
    if op in _SAME:
        return size
    if op == "mix":
        return size._replace(weights_bytes=int(getattr(step, "budget_mb") * 1e6))  # noqa: B009 - only this one has it
    bits = _bits(step)
    if bits is None:
        return None
    # A graph keeps the vocabulary in a file of its own.
    rest_bytes = size.rest_bytes if step.MAKES == "gguf" else 0
    total_bits = size.weights_count * bits[0] + size.embedding_count * bits[1]
    return size._replace(weights_bytes=int(total_bits / 8) + rest_bytes, rest_bytes=rest_bytes)


def _bits(step: Step) -> tuple[float, float] | None:
    """Of a number in the matrices, and in the embedding."""
    op = str(step.__struct_config__.tag)
    told = {name: getattr(step, name, "") for name in ("type", "embedding", "bits", "block_count")}
    if op in {"dequantize", "import_safetensors"}:
        return 16.0, 16.0
    if op in {"quantize", "compensate"}:
        body = _type_bits(told["type"])
        table = _type_bits(told["embedding"]) if told["embedding"] else _USUAL_EMBEDDING_BITS
        return (
            None
            if body is None or table is None
            else (body, table if told["embedding"] else max(table, body))
        )
    if op == "export_onnx":
        return 32.0, 32.0
    if op in {"quantize_dynamic", "quantize_static"}:
        return 8.0, _TABLE_BITS[told["embedding"]]
    if op in {"quantize_blocks", "qat_encoder"}:
        block_count = int(told["block_count"] or 0)
        scaled = float(told["bits"] or 0) + (_SCALE_BITS / block_count if block_count else 0.0)
        return scaled, _TABLE_BITS.get(told["embedding"], 4.5)
    return None


def _type_bits(name: str) -> float | None:
    for element in GGML_TYPES.values():
        if element.name == name:
            return 8 * element.block_bytes / element.block_elements
    return _MIXTURE_BITS.get(name)


def _size_of_gguf(weights: Path) -> Size:
    size_bytes = weights.stat().st_size
    with weights.open("rb") as file:
        header = read_header(file, size_bytes)
    embedding = sum(it.element_count for it in header.tensors if it.name == _EMBEDDING)
    whole = sum(it.element_count for it in header.tensors)
    return Size(size_bytes, whole - embedding, embedding, header.data_start)


def _size_of_checkpoint(weights: Path) -> Size:
    config = json.loads((weights.parent / "config.json").read_bytes())
    embedding = int(config["vocab_size"]) * int(config["hidden_size"])
    return Size(weights.stat().st_size, inspect(weights).parameter_count - embedding, embedding, 0)
