"""A BERT encoder from its safetensors in numpy: the reference that no exporter and no runtime has touched.

Devlin et al., BERT (2018); pooling as in Reimers and Gurevych, Sentence-BERT (2019).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from origin.build.onnx.checkpoint import (
    ATTENDED,
    ATTENDED_NORM,
    KEY,
    KINDS,
    LOWERED,
    LOWERED_NORM,
    NORM,
    POSITIONS,
    QUERY,
    RAISED,
    VALUE,
    WORDS,
    layer_name,
    read_checkpoint,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]

_BATCH_ROWS = 16


class BertModel:
    """An encoder, read."""

    def __init__(self, directory: Path) -> None:
        """Read a checkpoint. Raises RecipeInvalidError where it is none."""
        checkpoint = read_checkpoint(directory)
        self._config = checkpoint.config
        self._tensors = checkpoint.tensors
        self._first = checkpoint.pooling == "first"

    def vectors(self, rows: Sequence[Integers], report: Callable[[int], None]) -> Floats:
        """The unit vector of each text, texts of the same length together; `report` hears how many are done."""
        by_length: dict[int, list[int]] = {}
        for place, ids in enumerate(rows):
            by_length.setdefault(len(ids), []).append(place)
        found = np.empty((len(rows), self._config.hidden_size), np.float32)
        done = 0
        for places in by_length.values():
            for start in range(0, len(places), _BATCH_ROWS):
                batch = places[start : start + _BATCH_ROWS]
                found[batch] = self._batch(np.array([rows[place] for place in batch]))
                done += len(batch)
                report(done)
        return found

    def _batch(self, ids: Integers) -> Floats:
        state = self._tensors[WORDS][ids] + self._tensors[POSITIONS][: ids.shape[1]] + self._tensors[KINDS][0]
        state = self._norm(NORM, state)
        for index in range(self._config.num_hidden_layers):
            state = self._layer(index, state)
        pooled = state[:, 0] if self._first else state.mean(axis=1)
        return np.asarray(pooled / np.maximum(np.linalg.norm(pooled, axis=-1, keepdims=True), 1e-12))

    def _layer(self, index: int, state: Floats) -> Floats:
        rows_count, tokens_count, width = state.shape

        def heads(part: str) -> Floats:
            parted = self._linear(layer_name(index, part), state)
            return parted.reshape(rows_count, tokens_count, self._config.num_attention_heads, -1).transpose(
                0, 2, 1, 3
            )

        query, key, value = heads(QUERY), heads(KEY), heads(VALUE)
        scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(query.shape[-1]))
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        seen = (weights @ value).transpose(0, 2, 1, 3).reshape(rows_count, tokens_count, width)
        attended = self._linear(layer_name(index, ATTENDED), seen)
        state = self._norm(layer_name(index, ATTENDED_NORM), attended + state)
        raised = _ACTIVATIONS[self._config.hidden_act](self._linear(layer_name(index, RAISED), state))
        return self._norm(
            layer_name(index, LOWERED_NORM), self._linear(layer_name(index, LOWERED), raised) + state
        )

    def _linear(self, name: str, state: Floats) -> Floats:
        # As one product of two matrices: numpy makes a product for each row of a stack.
        flat = state.reshape(-1, state.shape[-1]) @ self._tensors[f"{name}.weight"].T
        return np.asarray((flat + self._tensors[f"{name}.bias"]).reshape(*state.shape[:-1], -1))

    def _norm(self, name: str, state: Floats) -> Floats:
        centred = state - state.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + np.float32(self._config.layer_norm_eps))
        scaled = centred / spread * self._tensors[f"{name}.weight"]
        return np.asarray(scaled + self._tensors[f"{name}.bias"])


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


def _gelu_new(values: Floats) -> Floats:
    """The same by a hyperbolic tangent, as models are trained that say `gelu_new`."""
    inner = np.float32(np.sqrt(2 / np.pi)) * (values + np.float32(0.044715) * values**3)
    return np.asarray(0.5 * values * (1 + np.tanh(inner)), np.float32)


def _relu(values: Floats) -> Floats:
    return np.maximum(values, 0)


_ACTIVATIONS = {"gelu": _gelu, "gelu_new": _gelu_new, "relu": _relu}
