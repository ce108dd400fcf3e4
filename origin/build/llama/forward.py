"""Forward: a llama model as a function of its tensors, differentiable, in the layout that GGUF keeps them in.

The architecture is that of Touvron et al. 2023 (arXiv:2302.13971) with grouped queries (arXiv:2305.13245). GGUF
keeps the rows of queries and keys so that the two numbers which a position turns stand next to each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from origin.build.llama.shape import EMBEDDING, OUTPUT_NORM

if TYPE_CHECKING:
    from collections.abc import Mapping

    from origin.build.llama.shape import LlamaShape


def hidden_states(
    weights: Mapping[str, torch.Tensor], shape: LlamaShape, tokens: torch.Tensor
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """What stands after the embedding and after each layer, and the normed last one that logits are made of.

    Matrices of `weights` are in the type to compute in; norms, and what is carried from layer to layer, are float32.
    Of `tokens` one row is a sequence.
    """
    turns = _turns(shape, tokens.shape[1], weights[EMBEDDING])
    state = functional.embedding(tokens, weights[EMBEDDING]).float()
    states = [state]
    for layer in range(shape.layers_count):
        prefix = f"blk.{layer}."
        state, inner = _parts(weights, prefix, shape, state, turns)
        state = state + inner @ weights[prefix + "ffn_down.weight"].T
        states.append(state)
    return states, _norm(weights, OUTPUT_NORM, shape, state)


def layer_parts(
    weights: Mapping[str, torch.Tensor], shape: LlamaShape, layer: int, state: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of one layer, from what comes into it: what stands after attention, and what its last matrix takes."""
    turns = _turns(shape, state.shape[1], weights[EMBEDDING])
    return _parts(weights, f"blk.{layer}.", shape, state, turns)


def _parts(
    weights: Mapping[str, torch.Tensor],
    prefix: str,
    shape: LlamaShape,
    state: torch.Tensor,
    turns: tuple[torch.Tensor, torch.Tensor],
) -> tuple[torch.Tensor, torch.Tensor]:
    normed = _norm(weights, prefix + "attn_norm.weight", shape, state)
    state = state + _attention(weights, prefix, shape, normed, turns)
    normed = _norm(weights, prefix + "ffn_norm.weight", shape, state)
    gate = functional.silu(normed @ weights[prefix + "ffn_gate.weight"].T)
    return state, gate * (normed @ weights[prefix + "ffn_up.weight"].T)


def _attention(
    weights: Mapping[str, torch.Tensor],
    prefix: str,
    shape: LlamaShape,
    normed: torch.Tensor,
    turns: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    def heads(name: str, count: int) -> torch.Tensor:
        flat = normed @ weights[prefix + name].T
        return flat.view(*flat.shape[:2], count, shape.head_width).transpose(1, 2)

    queries = _turned(heads("attn_q.weight", shape.heads_count), turns)
    keys = _turned(heads("attn_k.weight", shape.kv_heads_count), turns)
    values = heads("attn_v.weight", shape.kv_heads_count)
    group = shape.heads_count // shape.kv_heads_count
    mixed = functional.scaled_dot_product_attention(
        queries, keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1), is_causal=True
    )
    flat = mixed.transpose(1, 2).reshape(*normed.shape[:2], shape.width)
    return flat @ weights[prefix + "attn_output.weight"].T


def _norm(
    weights: Mapping[str, torch.Tensor], name: str, shape: LlamaShape, state: torch.Tensor
) -> torch.Tensor:
    normed = functional.rms_norm(state, (shape.width,), weights[name], shape.norm_epsilon)
    return normed.to(weights[EMBEDDING].dtype)


def _turns(shape: LlamaShape, tokens_count: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and sine for each position and each pair of a head (RoPE, arXiv:2104.09864)."""
    exponents = torch.arange(0, shape.head_width, 2, dtype=torch.float64) / shape.head_width
    angles = torch.outer(torch.arange(tokens_count, dtype=torch.float64), shape.rope_base**-exponents)
    return angles.cos().to(like), angles.sin().to(like)


def _turned(heads: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    cosine, sine = turns
    first, second = heads[..., 0::2], heads[..., 1::2]
    turned = torch.stack((first * cosine - second * sine, first * sine + second * cosine), -1)
    return turned.flatten(-2)
