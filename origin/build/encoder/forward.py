"""The forward pass of a BERT encoder as functions of its tensors (https://arxiv.org/abs/1810.04805).

Matrix products may run in bfloat16 while the tensors stay in single precision: faster on processors that multiply it,
and the norms, the sums and the pooling stay exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from origin.build.onnx import checkpoint as names
from origin.build.onnx.checkpoint import layer_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from origin.build.onnx.checkpoint import BertConfig, Pooling
    from origin.build.onnx.rows import RowBatch

Weights = dict[str, Tensor]
_NEVER = -1e9


@dataclass(frozen=True, slots=True)
class Encoded:
    """What a batch became.

    Attributes:
        hidden: [rows, tokens, width] before the first layer and after each.
        mask: [rows, tokens], 1.0 where a token counts.
    """

    hidden: list[Tensor]
    mask: Tensor


def encode(
    config: BertConfig,
    weights: Mapping[str, Tensor],
    batch: RowBatch,
    *,
    matrices: torch.dtype = torch.float32,
    watch: Callable[[str, Tensor], Tensor] | None = None,
) -> Encoded:
    """Run the encoder over a batch.

    Args:
        config: of the checkpoint.
        weights: its tensors.
        batch: rows of token ids.
        matrices: what the matrix products compute in.
        watch: is given each linear map's input with the map's name, and gives back what is computed with.
    """
    device = weights[names.WORDS].device
    ids = torch.from_numpy(batch.ids).to(device)
    mask = torch.from_numpy(batch.mask).to(device)
    places = torch.arange(ids.shape[1], device=device)
    state = functional.embedding(ids, weights[names.WORDS])
    state = state + weights[names.POSITIONS][places] + weights[names.KINDS][0]
    state = _norm(config, weights, names.NORM, state)
    barred = _barred(mask, config.num_attention_heads, matrices)
    hidden = [state]
    for index in range(config.num_hidden_layers):
        state = _layer(config, weights, index, state, barred, matrices, watch)
        hidden.append(state)
    return Encoded(hidden, mask.to(state.dtype))


def sentence_vectors(encoded: Encoded, pooling: Pooling) -> Tensor:
    """One vector of length 1 a row."""
    last = encoded.hidden[-1]
    if pooling == "first":
        pooled = last[:, 0]
    else:
        weights = encoded.mask[:, :, None]
        pooled = (last * weights).sum(1) / weights.sum(1)
    return functional.normalize(pooled, dim=1)


def _layer(
    config: BertConfig,
    weights: Mapping[str, Tensor],
    index: int,
    state: Tensor,
    barred: Tensor,
    matrices: torch.dtype,
    watch: Callable[[str, Tensor], Tensor] | None,
) -> Tensor:
    def linear(part: str, values: Tensor) -> Tensor:
        name = layer_name(index, part)
        if watch is not None:
            values = watch(name, values)
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return functional.linear(values.to(matrices), weight.to(matrices), bias.to(matrices))

    rows, tokens, width = state.shape
    heads = config.num_attention_heads

    def split(values: Tensor) -> Tensor:
        parted = values.view(rows, tokens, heads, width // heads).transpose(1, 2)
        return parted.reshape(rows * heads, tokens, width // heads)

    query, key, value = (split(linear(part, state)) for part in (names.QUERY, names.KEY, names.VALUE))
    # The fused kernel's way back is slower in bfloat16 than these three.
    scores = torch.baddbmm(barred, query, key.transpose(1, 2), alpha=(width // heads) ** -0.5)
    attended = torch.bmm(scores.softmax(-1), value).view(rows, heads, tokens, width // heads)
    attended = attended.transpose(1, 2).reshape(rows, tokens, width)
    state = state + linear(names.ATTENDED, attended).to(state.dtype)
    state = _norm(config, weights, layer_name(index, names.ATTENDED_NORM), state)
    raised = _activation(config.hidden_act, linear(names.RAISED, state))
    state = state + linear(names.LOWERED, raised).to(state.dtype)
    return _norm(config, weights, layer_name(index, names.LOWERED_NORM), state)


def _barred(mask: Tensor, heads: int, matrices: torch.dtype) -> Tensor:
    """What is added to scores, [rows * heads, 1, tokens]: nothing, or so little that no share is left."""
    added = (1 - mask).to(matrices) * _NEVER
    return added[:, None, :].repeat_interleave(heads, 0)


def _activation(name: str, values: Tensor) -> Tensor:
    if name == "relu":
        return functional.relu(values)
    return functional.gelu(values, approximate="tanh" if name == "gelu_new" else "none")


def _norm(config: BertConfig, weights: Mapping[str, Tensor], name: str, values: Tensor) -> Tensor:
    width = (config.hidden_size,)
    return functional.layer_norm(
        values, width, weights[f"{name}.weight"], weights[f"{name}.bias"], config.layer_norm_eps
    )
