"""Unquantized: the types of numbers as training leaves them, and the refusal of a model that has others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from registry.formats.gguf import GgufTensor

UNQUANTIZED = frozenset({"F32", "F16", "BF16"})
"""What `dequantize` leaves as it is."""


def refuse_quantized(step_id: str, tensors: Iterable[GgufTensor]) -> None:
    """Refuse tensors that are quantized already: what is done to weights is done to the numbers themselves.

    Raises:
        RecipeInvalidError: with the first of them, and what to do.
    """
    for tensor in tensors:
        if tensor.element not in UNQUANTIZED:
            raise RecipeInvalidError(
                f"step {step_id}: tensor {tensor.name} is {tensor.element} already; "
                "put a dequantize step before it, or start from the unquantized model",
                param="from",
            )
