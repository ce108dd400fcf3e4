"""The table of operations: every `op` that a recipe may name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.build.gguf_steps import (
    Compensate,
    Dequantize,
    DropLayers,
    Importance,
    ImportSafetensors,
    Mix,
    NarrowFfn,
    Quantize,
    Sparsify,
    TrimVocabulary,
)
from origin.build.llama_steps import (
    Distill,
    Qat,
)

if TYPE_CHECKING:
    from origin.build.step import Step

OPERATIONS: dict[str, type[Step]] = {
    "compensate": Compensate,
    "dequantize": Dequantize,
    "distill": Distill,
    "drop_layers": DropLayers,
    "import_safetensors": ImportSafetensors,
    "importance": Importance,
    "mix": Mix,
    "narrow_ffn": NarrowFfn,
    "qat": Qat,
    "quantize": Quantize,
    "sparsify": Sparsify,
    "trim_vocabulary": TrimVocabulary,
}
"""By the word that `op` is in a recipe."""
