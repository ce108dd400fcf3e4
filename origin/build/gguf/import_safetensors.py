"""The operation `import_safetensors`: a model of the llama family as Hugging Face lays it out, as GGUF in F16."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open

from origin.build.gguf.hf_tokenizer import read_json, tokenizer_fields
from origin.build.gguf.writing import file_type, new_field, plain, write_model
from origin.build.step import StepProgress
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from origin.build.gguf.writing import NewTensor
    from origin.build.gguf_steps import ImportSafetensors
    from origin.build.step import Artifact, Fact, StepWork

VERSION = 1
_TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
_PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
_SKIPPED = re.compile(r".*\.rotary_emb\.inv_freq")
_SETTINGS = {
    "num_hidden_layers": "llama.block_count",
    "max_position_embeddings": "llama.context_length",
    "hidden_size": "llama.embedding_length",
    "intermediate_size": "llama.feed_forward_length",
    "num_attention_heads": "llama.attention.head_count",
}
_EMBEDDING = "model.embed_tokens.weight"


def check(step: ImportSafetensors, source: Artifact) -> None:
    """Refuse models of other families, and settings that GGUF's `llama` has no place for.

    Raises:
        RecipeInvalidError: with what the model has.
    """
    config = read_json(source.directory / "config.json")
    if config.get("model_type") != "llama":
        raise RecipeInvalidError(
            f"step {step.id}: a model of type {config.get('model_type')!r} is not read here, llama is",
            param="from",
        )
    missing = [key for key in _SETTINGS if type(config.get(key)) is not int or config[key] < 1]
    if missing:
        raise RecipeInvalidError(
            f"step {step.id}: config.json has no whole number {missing[0]}", param="from"
        )
    if config.get("rope_scaling"):
        raise RecipeInvalidError(
            f"step {step.id}: scaled rotary positions (rope_scaling) are not read here", param="from"
        )
    heads, sharing, width = config["num_attention_heads"], _kv_heads(config), _head_width(config)
    if type(sharing) is not int or sharing < 1 or heads % sharing:
        raise RecipeInvalidError(
            f"step {step.id}: {heads} heads cannot share keys and values of {sharing!r} evenly", param="from"
        )
    if type(width) is not int or width < 2 or width % 2:
        raise RecipeInvalidError(
            f"step {step.id}: a head has {width!r} numbers, not pairs of them", param="from"
        )


def run(step: ImportSafetensors, work: StepWork) -> Mapping[str, Fact]:
    """Write the model with llama.cpp's names, order of rows and tokenizer."""
    source = work.inputs["source"]
    config = read_json(source.directory / "config.json")
    try:
        with safe_open(source.model_file, framework="np") as weights:
            names = {name: to for name in weights.keys() if (to := _new_name(name))}  # noqa: SIM118 - not a mapping
            shapes = {name: tuple(weights.get_slice(name).get_shape()) for name in names}
            _check_shapes(step, config, shapes)
            fields = _fields(config) | tokenizer_fields(source.directory, shapes[_EMBEDDING][0], step.pre)
            if config.get("tie_word_embeddings"):
                names.pop("lm_head.weight", None)
            write_model(
                work.directory / "model.gguf",
                [new_field(key, value) for key, value in fields.items()],
                [
                    _tensor(weights, config, name, to, shapes[name])
                    for name, to in sorted(names.items(), key=_order)
                ],
                wrote=lambda done, total: work.report(StepProgress(done=done, total=total, unit="tensors")),
            )
    except (OSError, SafetensorError) as error:
        raise RecipeInvalidError(
            f"step {step.id}: cannot read {source.model_file.name}: {error}", param="from"
        ) from error
    return {"tensors_count": len(names), "tokens_count": shapes[_EMBEDDING][0]}


def _new_name(name: str) -> str:
    if name in _TOP:
        return _TOP[name]
    if _SKIPPED.fullmatch(name):
        return ""
    layer = _LAYER.fullmatch(name)
    if layer is None or layer[2] not in _PARTS:
        raise RecipeInvalidError(
            f"tensor {name} has no place in a GGUF file of the llama family", param="from"
        )
    return f"blk.{layer[1]}.{_PARTS[layer[2]]}.{layer[3]}"


def _check_shapes(
    step: ImportSafetensors, config: dict[str, Any], shapes: dict[str, tuple[int, ...]]
) -> None:
    parts = _part_shapes(config)
    layers = range(config["num_hidden_layers"])
    wanted = {f"model.layers.{i}.{part}.weight": shape for i in layers for part, shape in parts.items()}
    missing = next((name for name in [*wanted, _EMBEDDING, "model.norm.weight"] if name not in shapes), None)
    if missing:
        raise RecipeInvalidError(f"step {step.id}: the weights have no {missing}", param="from")
    if shapes[_EMBEDDING][1:] != (config["hidden_size"],):
        raise RecipeInvalidError(
            f"step {step.id}: config.json speaks of a width of {config['hidden_size']}, the embedding has the shape "
            f"{shapes[_EMBEDDING]}",
            param="from",
        )
    for name, shape in wanted.items():
        if shapes[name] != shape:
            raise RecipeInvalidError(
                f"step {step.id}: {name} has the shape {shapes[name]}, and should have {shape} by config.json",
                param="from",
            )


def _kv_heads(config: dict[str, Any]) -> Any:
    """How many heads have keys and values of their own: as many as there are, where nothing is said."""
    said = config.get("num_key_value_heads")
    return config["num_attention_heads"] if said is None else said


def _head_width(config: dict[str, Any]) -> Any:
    return config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]


def _part_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of each part of a layer."""
    width, inner, head = config["hidden_size"], config["intermediate_size"], _head_width(config)
    asking, shared = config["num_attention_heads"] * head, _kv_heads(config) * head
    return {
        "input_layernorm": (width,),
        "self_attn.q_proj": (asking, width),
        "self_attn.k_proj": (shared, width),
        "self_attn.v_proj": (shared, width),
        "self_attn.o_proj": (width, asking),
        "post_attention_layernorm": (width,),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
    }


def _fields(config: dict[str, Any]) -> dict[str, Any]:
    head = _head_width(config)
    return {
        "general.architecture": "llama",
        "general.type": "model",
        "general.file_type": file_type("F16"),
        "general.quantization_version": 2,
        **{to: config[key] for key, to in _SETTINGS.items()},
        "llama.attention.head_count_kv": _kv_heads(config),
        "llama.attention.layer_norm_rms_epsilon": float(config.get("rms_norm_eps", 1e-6)),
        "llama.attention.key_length": head,
        "llama.attention.value_length": head,
        "llama.rope.dimension_count": head,
        "llama.rope.freq_base": float(config.get("rope_theta") or 10000.0),
        "llama.vocab_size": config.get("vocab_size", 0),
    }


def _tensor(weights: Any, config: dict[str, Any], name: str, to: str, shape: tuple[int, ...]) -> NewTensor:
    shared = {"attn_q": config["num_attention_heads"], "attn_k": _kv_heads(config)}
    count = next((count for part, count in shared.items() if f".{part}." in to), 0)

    def values() -> NDArray[np.float32]:
        numbers: NDArray[np.float32] = np.asarray(weights.get_tensor(name)).astype(np.float32)
        return interleaved(numbers, count) if count else numbers

    return plain(to, shape, values)


def interleaved(values: NDArray[np.float32], heads_count: int) -> NDArray[np.float32]:
    """Rows of queries or keys in the order that llama.cpp rotates: pairs side by side instead of half a head apart."""
    rows = values.shape[0]
    halves = values.reshape(heads_count, 2, rows // heads_count // 2, *values.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(values.shape)


def _order(entry: tuple[str, str]) -> tuple[int, str]:
    parts = entry[1].split(".")
    return (int(parts[1]) + 1 if parts[0] == "blk" else 0, entry[1])
