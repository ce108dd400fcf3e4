"""Changing weights of an open model and seeing what it costs: the KL divergence from the model as it was.

The weights are overwritten where llama.cpp holds them and put back after, so that a trial costs one pass over some
text and no file. The model must be unquantized.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from gguf import GGMLQuantizationType
from gguf.quants import quantize

from origin.build.gguf.forward import chunks, open_forward
from origin.build.gguf.model_file import ModelFile
from origin.build.gguf.nodes import check_layout, name_of, node_at, source_of, write_at
from origin.build.gguf.unquantized import UNQUANTIZED
from origin.build.probabilities import log_probabilities
from origin.errors import StepFailedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from origin.build.gguf.forward import Forward


class Trial:
    """An open model with the logits that it had at first.

    Attributes:
        tokens_count: over how many tokens it is judged.
    """

    def __init__(
        self, file: ModelFile, forward: Forward, pieces: list[list[int]], weights: dict[str, int]
    ) -> None:
        self._file, self._forward, self._pieces, self._weights = file, forward, pieces, weights
        self.tokens_count = sum(map(len, pieces))
        # Half precision: 1/1000 of a log-probability averages out over the vocabulary, and memory is bounded.
        self._before = [log_probabilities(forward.logits(piece)).astype(np.float16) for piece in pieces]

    def divergence(self) -> float:
        """Mean KL divergence, in nats a token, of the model as it is now from what it was at first."""
        total = 0.0
        for piece, before in zip(self._pieces, self._before, strict=True):
            now = log_probabilities(self._forward.logits(piece))
            was = before.astype(np.float32)
            total += float(np.einsum("tv,tv->", np.exp(was), was - now, dtype=np.float64))
        return total / self.tokens_count

    @contextmanager
    def changed(self, values: Mapping[str, NDArray[np.float32]]) -> Iterator[None]:
        """The model with these weights instead of its own, by name.

        Raises:
            StepFailedError: the model has no such matrix, or it is quantized.
        """
        for name in values:
            if name not in self._weights or self._file.tensors[name].element not in UNQUANTIZED:
                raise StepFailedError(
                    f"cannot try another {name}: the model does not use it, or it is quantized"
                )
        try:
            for name, new in values.items():
                kind = GGMLQuantizationType[self._file.tensors[name].element]
                write_at(self._weights[name], quantize(new, kind))
            yield
        finally:
            for name in values:
                write_at(self._weights[name], self._file.raw(name))


@contextmanager
def open_trial(
    path: Path, texts: Sequence[str], *, limit_tokens: int, threads_count: int, chunk_tokens: int = 256
) -> Iterator[Trial]:
    """Open the model of `path` to be judged over at most `limit_tokens` of `texts`.

    Raises:
        StepFailedError: llama.cpp cannot open or run it, or there is too little text.
    """
    weights: dict[str, int] = {}

    def observe(address: int, ask: bool) -> bool:  # noqa: ARG001 - nothing is computed for it
        if not weights:
            check_layout(address)
        for index in range(2):
            given = source_of(node_at(address), index)
            if given and (name := name_of(node_at(given))).endswith(".weight"):
                weights[name] = given
        return False

    with open_forward(
        path, chunk_tokens=chunk_tokens, threads_count=threads_count, observe=observe, writable=True
    ) as forward:
        pieces = chunks(forward, texts, chunk_tokens=chunk_tokens, limit_tokens=limit_tokens)
        if not pieces:
            raise StepFailedError("the texts to judge on hold not two tokens; give more text")
        yield Trial(ModelFile(path), forward, pieces, weights)
