"""Checkpoint: an encoder of the BERT family as Hugging Face lays it out, read into arrays and written again.

Tensors are named as in the file, without the prefix `bert.` that some checkpoints carry.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Floats = NDArray[np.float32]
Tensors = dict[str, Floats]
Pooling = Literal["mean", "first"]

COMPANIONS = (
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "sentence_bert_config.json",
    "modules.json",
    "1_Pooling/config.json",
)
"""What lies beside the weights and is carried along unchanged."""
WORDS = "embeddings.word_embeddings.weight"
POSITIONS = "embeddings.position_embeddings.weight"
KINDS = "embeddings.token_type_embeddings.weight"
NORM = "embeddings.LayerNorm"
QUERY, KEY, VALUE = ("attention.self.query", "attention.self.key", "attention.self.value")
ATTENDED, ATTENDED_NORM = ("attention.output.dense", "attention.output.LayerNorm")
RAISED, LOWERED, LOWERED_NORM = ("intermediate.dense", "output.dense", "output.LayerNorm")
LINEARS = (QUERY, KEY, VALUE, ATTENDED, RAISED, LOWERED)
NORMS = (ATTENDED_NORM, LOWERED_NORM)

_HEADS = ("classifier.", "qa_outputs.", "cls.seq_relationship")
# Saved with some checkpoints, and used by no vector: the head of next-sentence prediction, and counted positions.
_UNUSED = ("pooler.", "cls.predictions", "embeddings.position_ids")


class BertConfig(msgspec.Struct, frozen=True):
    """What `config.json` says of the shape; the rest of the file is kept beside it."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    max_position_embeddings: int
    type_vocab_size: int = 2
    layer_norm_eps: float = 1e-12
    hidden_act: str = "gelu"
    model_type: str = ""
    position_embedding_type: str = "absolute"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An encoder in memory.

    Attributes:
        settings: all of `config.json`.
        directory: where its tokenizer lies.
        pooling: how token vectors become one.
    """

    config: BertConfig
    settings: Mapping[str, Any]
    tensors: Tensors
    directory: Path
    pooling: Pooling


def layer_name(index: int, part: str) -> str:
    """The name of a part of a layer, without `.weight` and `.bias`."""
    return f"encoder.layer.{index}.{part}"


def read_checkpoint(directory: Path) -> Checkpoint:
    """Read a directory with config.json, model.safetensors and tokenizer.json.

    Raises:
        RecipeInvalidError: it is no encoder of the BERT family, or tensors are missing, misshapen or not finite.
    """
    settings, config = _read_config(directory / "config.json")
    tensors = _read_tensors(directory / "model.safetensors")
    _check(config, tensors)
    if not (directory / "tokenizer.json").is_file():
        raise RecipeInvalidError(
            f"{directory} has no tokenizer.json; an encoder is served with its tokenizer"
        )
    return Checkpoint(config, settings, tensors, directory, read_pooling(directory))


def write_checkpoint(checkpoint: Checkpoint, directory: Path) -> None:
    """Write config.json, model.safetensors and what lies beside them into a directory that exists."""
    settings = {**checkpoint.settings, **msgspec.to_builtins(checkpoint.config)}
    (directory / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", "utf-8")
    tensors = {name: np.ascontiguousarray(checkpoint.tensors[name]) for name in sorted(checkpoint.tensors)}
    save_file(tensors, str(directory / "model.safetensors"))
    copy_companions(checkpoint.directory, directory)


def copy_companions(source: Path, target: Path) -> None:
    """Copy the settings, the tokenizer and what else lies beside the weights, and nothing that is there already."""
    for name in COMPANIONS:
        if (source / name).is_file() and not (target / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, target / name)


def read_pooling(directory: Path) -> Pooling:
    """The mean of the token vectors, or the first of them.

    Raises:
        RecipeInvalidError: the model wants another pooling.
    """
    file = directory / "1_Pooling" / "config.json"
    if not file.is_file():
        return "mean"
    wanted = json.loads(file.read_text("utf-8"))
    modes = [key for key, on in wanted.items() if key.startswith("pooling_mode_") and on is True]
    if modes == ["pooling_mode_mean_tokens"]:
        return "mean"
    if modes == ["pooling_mode_cls_token"]:
        return "first"
    raise RecipeInvalidError(
        f"{file} asks for {', '.join(modes) or 'no pooling'}; a mean or the first token is known"
    )


def _read_config(file: Path) -> tuple[dict[str, Any], BertConfig]:
    try:
        settings = json.loads(file.read_text("utf-8"))
        config = msgspec.convert(settings, BertConfig)
    except OSError as error:
        raise RecipeInvalidError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, msgspec.ValidationError) as error:
        raise RecipeInvalidError(
            f"{file} does not describe an encoder of the BERT family: {error}"
        ) from error
    if config.model_type not in {"", "bert"} or config.position_embedding_type != "absolute":
        raise RecipeInvalidError(
            f"{file} describes {config.model_type or 'a model'} with {config.position_embedding_type} positions; "
            "of encoders, BERT with absolute positions is known"
        )
    if config.hidden_act not in {"gelu", "gelu_new", "relu"}:
        raise RecipeInvalidError(
            f"{file} has the activation {config.hidden_act}; gelu, gelu_new and relu are known"
        )
    if config.hidden_size % max(1, config.num_attention_heads):
        raise RecipeInvalidError(
            f"{file}: {config.num_attention_heads} heads do not divide {config.hidden_size}"
        )
    return settings, config


def _read_tensors(file: Path) -> Tensors:
    try:
        loaded: dict[str, NDArray[Any]] = load_file(str(file))
    except (OSError, SafetensorError) as error:
        raise RecipeInvalidError(f"cannot read {file}: {error}") from error
    tensors: Tensors = {}
    for full_name, values in loaded.items():
        name = full_name.removeprefix("bert.")
        if name.startswith(_HEADS):
            raise RecipeInvalidError(
                f"{file} has the head {full_name}: a model that judges texts; only models that embed texts are built"
            )
        if not name.startswith(_UNUSED):
            tensors[name] = values.astype(np.float32, copy=False)
    return tensors


def expected_shapes(config: BertConfig) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor by its name."""
    width, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {
        WORDS: (config.vocab_size, width),
        POSITIONS: (config.max_position_embeddings, width),
        KINDS: (config.type_vocab_size, width),
        **_pair(NORM, (width,), (width,)),
    }
    for index in range(config.num_hidden_layers):
        for part in (QUERY, KEY, VALUE, ATTENDED):
            shapes |= _pair(layer_name(index, part), (width, width), (width,))
        shapes |= _pair(layer_name(index, RAISED), (inner, width), (inner,))
        shapes |= _pair(layer_name(index, LOWERED), (width, inner), (width,))
        for part in NORMS:
            shapes |= _pair(layer_name(index, part), (width,), (width,))
    return shapes


def _pair(name: str, weight: tuple[int, ...], bias: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": weight, f"{name}.bias": bias}


def _check(config: BertConfig, tensors: Tensors) -> None:
    expected = expected_shapes(config)
    missing = sorted(expected.keys() - tensors.keys())
    if missing:
        raise RecipeInvalidError(f"the checkpoint lacks {len(missing)} tensors, the first is {missing[0]}")
    for name, shape in expected.items():
        if tensors[name].shape != shape:
            raise RecipeInvalidError(f"{name} is {tensors[name].shape}, and should be {shape} by config.json")
        if not np.isfinite(tensors[name]).all():
            raise RecipeInvalidError(f"{name} has numbers that are not finite")
    for name in tensors.keys() - expected.keys():
        raise RecipeInvalidError(
            f"{name} is no tensor of a BERT encoder with {config.num_hidden_layers} layers"
        )
