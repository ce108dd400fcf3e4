"""Shape: what a GGUF of the llama family says of itself, and why one cannot be trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from origin.build.gguf.model_file import ModelFile

LAYER_MATRICES = (
    "attn_q.weight",
    "attn_k.weight",
    "attn_v.weight",
    "attn_output.weight",
    "ffn_gate.weight",
    "ffn_up.weight",
    "ffn_down.weight",
)
LAYER_NORMS = ("attn_norm.weight", "ffn_norm.weight")
EMBEDDING, OUTPUT_NORM, OUTPUT = "token_embd.weight", "output_norm.weight", "output.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class LlamaShape:
    """The sizes of a model; widths are counts of numbers.

    Attributes:
        output: the tensor that makes logits of the last hidden state; the embedding where both are one.
    """

    layers_count: int
    width: int
    heads_count: int
    kv_heads_count: int
    head_width: int
    rope_base: float
    norm_epsilon: float
    context_tokens: int
    vocabulary_count: int
    output: str

    @property
    def tensor_names(self) -> list[str]:
        """Every tensor that the model has."""
        layers = [
            f"blk.{layer}.{name}"
            for layer in range(self.layers_count)
            for name in (*LAYER_MATRICES, *LAYER_NORMS)
        ]
        return list(dict.fromkeys([EMBEDDING, *layers, OUTPUT_NORM, self.output]))


def read_shape(model: ModelFile) -> LlamaShape:
    """The shape of an opened model.

    Raises:
        RecipeInvalidError: it is not of the llama family, or has something that the training here does not know.
    """
    if model.architecture != "llama":
        raise RecipeInvalidError(
            f"only models of the llama family can be trained here, and this one is of {model.architecture!r}"
        )
    if model.header.text("llama.rope.scaling.type") not in {"", "none"}:
        raise RecipeInvalidError("a model with scaled positions (rope scaling) cannot be trained here")
    heads_count, width = model.number("attention.head_count"), model.number("embedding_length")
    head_width = model.header.number("llama.rope.dimension_count") or width // heads_count
    if head_width * heads_count != width:
        raise RecipeInvalidError(f"{heads_count} heads of {head_width} do not make a width of {width}")
    embedding = model.tensors.get(EMBEDDING)
    shape = LlamaShape(
        layers_count=model.layers_count,
        width=width,
        heads_count=heads_count,
        kv_heads_count=model.header.number("llama.attention.head_count_kv") or heads_count,
        head_width=head_width,
        rope_base=_decimal(model, "llama.rope.freq_base", 10000.0),
        norm_epsilon=_decimal(model, "llama.attention.layer_norm_rms_epsilon", 1e-5),
        context_tokens=model.number("context_length"),
        vocabulary_count=embedding.dimensions[1] if embedding else 0,
        output=OUTPUT if OUTPUT in model else EMBEDDING,
    )
    expected, present = set(shape.tensor_names), set(model.tensors)
    if missing := sorted(expected - present):
        raise RecipeInvalidError(f"the model has no tensor {missing[0]} ({len(missing)} are missing)")
    if unknown := sorted(present - expected):
        raise RecipeInvalidError(
            f"the model has {len(unknown)} tensors that training here does not know, such as {unknown[0]}"
        )
    return shape


def _decimal(model: ModelFile, key: str, default: float) -> float:
    field = model.header.field(key)
    return float(field.value) if field and isinstance(field.value, int | float) else default
