"""The table of operations: every `op` that a recipe may name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.build.encoder_steps import (
    DistillEncoder,
    DistillStatic,
    DropEncoderLayers,
    ExportOnnx,
    NarrowEncoderFfn,
    QatEncoder,
    QuantizeBlocks,
    QuantizeDynamic,
    QuantizeStatic,
    SparsifyEncoder,
    TrimEncoderVocabulary,
)
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
    "distill_encoder": DistillEncoder,
    "distill_static": DistillStatic,
    "drop_encoder_layers": DropEncoderLayers,
    "drop_layers": DropLayers,
    "export_onnx": ExportOnnx,
    "import_safetensors": ImportSafetensors,
    "importance": Importance,
    "mix": Mix,
    "narrow_encoder_ffn": NarrowEncoderFfn,
    "narrow_ffn": NarrowFfn,
    "qat": Qat,
    "qat_encoder": QatEncoder,
    "quantize": Quantize,
    "quantize_blocks": QuantizeBlocks,
    "quantize_dynamic": QuantizeDynamic,
    "quantize_static": QuantizeStatic,
    "sparsify": Sparsify,
    "sparsify_encoder": SparsifyEncoder,
    "trim_encoder_vocabulary": TrimEncoderVocabulary,
    "trim_vocabulary": TrimVocabulary,
}
"""By the word that `op` is in a recipe."""
