"""The table of operations: every `op` that a recipe may name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.build.gguf_steps import Compensate, Dequantize, Importance, Quantize

if TYPE_CHECKING:
    from origin.build.step import Step

OPERATIONS: dict[str, type[Step]] = {
    "compensate": Compensate,
    "dequantize": Dequantize,
    "importance": Importance,
    "quantize": Quantize,
}
"""By the word that `op` is in a recipe."""
