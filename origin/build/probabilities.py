"""Probabilities: what a model's logits say, as natural logarithms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def log_probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits to natural logarithms of probabilities, by row."""
    with np.errstate(invalid="ignore", over="ignore"):
        shifted = logits - logits.max(axis=-1, keepdims=True)
        shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
        return np.asarray(shifted, np.float32)
