"""A BERT encoder from its safetensors in numpy: the reference that no exporter and no runtime has touched.

Devlin et al., BERT (2018); pooling as in Reimers and Gurevych, Sentence-BERT (2019).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from registry.errors import FormatInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_PREFIXES = ("", "bert.")


class _Config(msgspec.Struct, frozen=True):
    num_hidden_layers: int
    num_attention_heads: int
    hidden_act: Literal["gelu", "relu"] = "gelu"
    layer_norm_eps: float = 1e-12


class _Pooling(msgspec.Struct, frozen=True):
    pooling_mode_cls_token: bool = False


class BertModel:
    """An encoder, read; not for speed: one text at a time."""

    def __init__(self, directory: Path) -> None:
        """Read `config.json`, `model.safetensors` and, where it is, `1_Pooling/config.json`.

        Raises:
            FormatInvalidError: one of them is not as it must be.
        """
        from safetensors.numpy import load_file  # noqa: PLC0415 - of the extra for builds

        try:
            self._config = msgspec.json.decode((directory / "config.json").read_bytes(), type=_Config)
            pooling = directory / "1_Pooling" / "config.json"
            content = pooling.read_bytes() if pooling.is_file() else b"{}"
            self._first = msgspec.json.decode(content, type=_Pooling).pooling_mode_cls_token
            stored: Mapping[str, NDArray[np.generic]] = load_file(directory / "model.safetensors")
            prefix = next(each for each in _PREFIXES if f"{each}embeddings.LayerNorm.weight" in stored)
        except Exception as error:  # safetensors has a class of its own for each release
            raise FormatInvalidError(f"{directory.name} is no BERT encoder: {error!r}") from error
        self._tensors: dict[str, Floats] = {
            name.removeprefix(prefix): value.astype(np.float32) for name, value in stored.items()
        }

    def vector(self, ids: Integers) -> Floats:
        """The unit vector of a text. Raises FormatInvalidError where a tensor is missing or of another shape."""
        try:
            state = self._embed(ids)
            for index in range(self._config.num_hidden_layers):
                state = self._layer(f"encoder.layer.{index}", state)
        except (KeyError, ValueError, IndexError) as error:
            raise FormatInvalidError(f"the encoder's tensors do not fit each other: {error!r}") from error
        pooled = state[0] if self._first else state.mean(axis=0)
        return np.asarray(pooled / max(float(np.linalg.norm(pooled)), 1e-12), np.float32)

    def _embed(self, ids: Integers) -> Floats:
        tensors = self._tensors
        state = tensors["embeddings.word_embeddings.weight"][ids]
        state = state + tensors["embeddings.position_embeddings.weight"][: len(ids)]
        return self._norm("embeddings", state + tensors["embeddings.token_type_embeddings.weight"][0])

    def _layer(self, name: str, state: Floats) -> Floats:
        heads_count = self._config.num_attention_heads

        def heads(part: str) -> Floats:
            parted = self._linear(f"{name}.attention.self.{part}", state)
            return parted.reshape(len(state), heads_count, -1).transpose(1, 0, 2)

        query, key, value = heads("query"), heads("key"), heads("value")
        scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(query.shape[-1]))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        seen = (weights @ value).transpose(1, 0, 2).reshape(len(state), -1)
        attended = self._linear(f"{name}.attention.output.dense", seen)
        state = self._norm(f"{name}.attention.output", attended + state)
        inner = self._linear(f"{name}.intermediate.dense", state)
        inner = _gelu(inner) if self._config.hidden_act == "gelu" else np.maximum(inner, 0)
        return self._norm(f"{name}.output", self._linear(f"{name}.output.dense", inner) + state)

    def _linear(self, name: str, state: Floats) -> Floats:
        return np.asarray(state @ self._tensors[f"{name}.weight"].T + self._tensors[f"{name}.bias"])

    def _norm(self, name: str, state: Floats) -> Floats:
        centred = state - state.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(self._config.layer_norm_eps))
        scaled = centred / spread * self._tensors[f"{name}.LayerNorm.weight"]
        return np.asarray(scaled + self._tensors[f"{name}.LayerNorm.bias"])


def _gelu(values: Floats) -> Floats:
    """X times the normal distribution's integral; its error function after Abramowitz and Stegun 7.1.26 (1.5e-7)."""
    scaled = np.abs(values) / np.float32(np.sqrt(2))
    near = 1 / (1 + np.float32(0.3275911) * scaled)
    series = near * (
        0.254829592
        + near * (-0.284496736 + near * (1.421413741 + near * (-1.453152027 + near * 1.061405429)))
    )
    error = np.sign(values) * (1 - series * np.exp(-scaled * scaled))
    return np.asarray(0.5 * values * (1 + error), np.float32)
