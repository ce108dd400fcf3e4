"""Bridging: the layer before dropped ones takes over what they added, as far as a linear map of its own can.

After Shopkhoev et al., "ReplaceMe" (arXiv:2505.02819): least squares in closed form, here for the whole matrix that
ends a layer. It costs one pass over some rows, and training begins where it ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from origin.build.llama.forward import hidden_states, layer_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from origin.build.llama.shape import LlamaShape

_RIDGE = 0.1
"""Of the mean square of what the matrix is multiplied with: how strongly it is held to what it was."""


def bridges(
    weights: Mapping[str, torch.Tensor],
    shape: LlamaShape,
    layers: Sequence[int],
    rows: NDArray[np.int64],
    *,
    passed: Callable[[int], None],
) -> dict[int, torch.Tensor]:
    """New last matrices for the kept layers that are followed by dropped ones, by number in the whole model.

    `weights` and `shape` are those of the whole model. `layers` are kept, ascending; nothing can be done before the
    first. `passed` hears how many rows are read. Every position counts by the share that it is off: a few have states
    a thousand times as large as the others.
    """
    ends = [*layers[1:], shape.layers_count]
    gaps = [(layer, end) for layer, end in zip(layers, ends, strict=True) if end != layer + 1]
    squares: dict[int, torch.Tensor] = {}
    products: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        for number, row in enumerate(rows):
            if not gaps:
                break
            tokens = torch.from_numpy(row[None]).to(weights[shape.output].device)
            states, _ = hidden_states(weights, shape, tokens)
            for layer, end in gaps:
                _, inner = layer_parts(weights, shape, layer, states[layer])
                weight = states[end][0].square().mean(1, keepdim=True).rsqrt()
                inner, missing = inner[0].float() * weight, (states[end] - states[layer + 1])[0] * weight
                squares[layer] = squares.get(layer, 0) + inner.T @ inner
                products[layer] = products.get(layer, 0) + missing.T @ inner
            passed(number + 1)
        found = {}
        for layer, _ in gaps:
            square = squares[layer].double()
            square += torch.eye(len(square), device=square.device) * (_RIDGE * square.diagonal().mean())
            change = torch.linalg.solve(square, products[layer].double().T).T
            found[layer] = weights[f"blk.{layer}.ffn_down.weight"].float() + change.float()
    return found
