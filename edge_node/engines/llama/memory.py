"""The KV cells of a context's sequences, as llama.cpp keeps them.

Native code aborts on copies to a sequence past 255 and on copies of a part between partitioned caches: the context
is made with a unified cache and no more sequences than that (`library`).
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_cpp import llama_cpp as native

if TYPE_CHECKING:
    from edge_node.engines.llama.prefix_file import State


class KvMemory:
    """The memory of one context."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._memory = native.llama_get_memory(context)

    def forget(self, sequence: int, position: int) -> bool:
        """Drop a sequence's cells from `position` on; False when the model's memory cannot be cut there."""
        return bool(native.llama_memory_seq_rm(self._memory, sequence, position, -1))

    def copy(self, source: int, target: int, count: int) -> None:
        """Let an empty sequence share the cells of the first tokens of another."""
        native.llama_memory_seq_cp(self._memory, source, target, 0, count)

    def copy_part(self, source: int, target: int, start: int, end: int) -> None:
        """Let a sequence share the cells that another has at these positions, where it has none."""
        native.llama_memory_seq_cp(self._memory, source, target, start, end)

    def forget_part(self, sequence: int, start: int, end: int) -> None:
        """Drop a sequence's cells at these positions."""
        native.llama_memory_seq_rm(self._memory, sequence, start, end)

    def span(self, sequence: int) -> tuple[int, int]:
        """The first position that a sequence has, and the one after its last; (-1, 0) when it is empty."""
        first = native.llama_memory_seq_pos_min(self._memory, sequence)
        return first, native.llama_memory_seq_pos_max(self._memory, sequence) + 1

    def save(self, sequence: int) -> State:
        """A sequence's whole state; empty when there is none to save."""
        size = native.llama_state_seq_get_size(self._context, sequence)
        # Not cleared first and not copied after: what leaves the cells does so between two steps.
        state = np.empty(size, np.uint8)
        written = native.llama_state_seq_get_data(self._context, _address(state), size, sequence)
        return state[:written].data

    def restore(self, sequence: int, state: State) -> bool:
        """Put a saved state into an empty sequence; False when it does not fit, and then nothing is there."""
        source = _address(np.frombuffer(state, np.uint8))
        if native.llama_state_seq_set_data(self._context, source, len(state), sequence) == len(state):
            return True
        native.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        return False


def _address(state: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
    return ctypes.cast(state.ctypes.data, ctypes.POINTER(ctypes.c_uint8))
