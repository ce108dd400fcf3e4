"""The batch that llama.cpp decodes, filled through numpy.

Native code aborts on more rows than the context was made for and on scores that were not asked for; the plan's
limits and `Row.wants_scores` keep both out.
"""

from __future__ import annotations

import ctypes
from enum import Enum
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_cpp import llama_cpp as native

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_node.engines.llama.slots import Share


class Outcome(Enum):
    """What came of a decode."""

    DONE = 0
    NO_ROOM = 1
    REFUSED = -1
    BROKEN = -2


class Decoder:
    """One context at work."""

    def __init__(self, context: Any, *, batch_tokens: int) -> None:
        self.context = context
        self._batch_tokens = batch_tokens
        self._batch = native.llama_batch_init(batch_tokens, 0, 1)
        self._token = np.ctypeslib.as_array(self._batch.token, (batch_tokens,))
        self._position = np.ctypeslib.as_array(self._batch.pos, (batch_tokens,))
        self._wants_scores = np.ctypeslib.as_array(self._batch.logits, (batch_tokens,))
        np.ctypeslib.as_array(self._batch.n_seq_id, (batch_tokens,))[:] = 1
        # The id lists, one for each row, hold one id: make them neighbours, so that they fill as one array.
        self._sequence = np.zeros(batch_tokens, np.int32)
        first = self._sequence.ctypes.data
        width = ctypes.sizeof(native.llama_seq_id)
        self._id_lists = [
            ctypes.cast(first + row * width, ctypes.POINTER(native.llama_seq_id))
            for row in range(batch_tokens)
        ]
        for row, id_list in enumerate(self._id_lists):
            self._batch.seq_id[row] = id_list

    def decode(self, shares: Sequence[Share], tokens: Sequence[Sequence[int]]) -> Outcome:
        """Compute the rows of all shares in one go; `tokens[i]` are those of `shares[i]`."""
        rows: list[int] = []
        positions: list[int] = []
        sequences: list[int] = []
        wants_scores: list[int] = []
        for share, part in zip(shares, tokens, strict=True):
            assert len(part) == share.count > 0, "a share has its tokens"
            rows += part
            positions += range(share.position, share.position + share.count)
            sequences += [share.slot] * share.count
            scores_count = share.scores_count if share.wants_scores else 0
            wants_scores += [0] * (share.count - scores_count) + [1] * scores_count
        filled = len(rows)
        assert filled <= self._batch_tokens, "the plan keeps to the batch"
        # Lists first: an answer's one row costs numpy as much as a prompt's many.
        self._token[:filled] = rows
        self._position[:filled] = positions
        self._sequence[:filled] = sequences
        self._wants_scores[:filled] = wants_scores
        self._batch.n_tokens = filled
        code = native.llama_decode(self.context, self._batch)
        # A GPU goes on computing after that; how long steps take is measured, and planned by.
        native.llama_synchronize(self.context)
        if code in {0, 1, -1}:
            return Outcome(code)
        return Outcome.BROKEN
