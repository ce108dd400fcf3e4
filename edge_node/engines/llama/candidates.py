"""The tokens that a chain of samplers picks from, in memory that numpy fills.

Native code reads as many candidates as the array says, and ids that the vocabulary has; both are made here.
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_cpp import llama_cpp as native

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Candidates:
    """Room for all tokens of a vocabulary with their scores; one answer uses it at a time."""

    def __init__(self, tokens_count: int) -> None:
        self._memory = (native.llama_token_data * tokens_count)()
        self._rows = np.ctypeslib.as_array(self._memory)
        self._all = np.arange(tokens_count, dtype=np.int32)
        self._count = 0

    def take_all(self, logits: NDArray[np.float32]) -> None:
        """Every token, with these scores."""
        self.take(self._all, logits)

    def take(self, tokens: NDArray[np.int32], logits: NDArray[np.float32] | float = 0.0) -> None:
        """Some tokens, with the score of each."""
        self._count = len(tokens)
        rows = self._rows[: self._count]
        rows["id"], rows["logit"], rows["p"] = tokens, logits, 0.0

    def leave_out(self, tokens: NDArray[np.int32]) -> None:
        """Make tokens impossible, after `take_all`."""
        self._rows["logit"][tokens] = -np.inf

    def draw(self, chain: Any) -> int:
        """The token that the chain selects; it is not told to the chain."""
        array = self._array()
        native.llama_sampler_apply(chain, ctypes.byref(array))
        assert 0 <= array.selected < array.size, "a chain ends in a choice"
        return int(array.data[array.selected].id)

    def left_by(self, sampler: Any) -> NDArray[np.int32]:
        """Those tokens that a sampler which chooses nothing leaves possible."""
        array = self._array()
        native.llama_sampler_apply(sampler, ctypes.byref(array))
        rows = self._rows[: self._count]
        return np.array(rows["id"][rows["logit"] > -np.inf], np.int32)

    def _array(self) -> Any:
        data = ctypes.cast(self._memory, native.llama_token_data_p)
        return native.llama_token_data_array(data, self._count, -1, False)
