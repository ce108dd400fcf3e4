"""What flows into each matrix of a model while it reads: mean squares, Gram matrices, and how much a layer changes.

Taken from llama.cpp's own graph as it is computed, so any architecture that it runs can be measured. The mean
squares are what llama.cpp calls an importance matrix (tools/imatrix); a layer's influence is one minus the cosine
between what comes in and what goes out (Men et al., "ShortGPT", 2024).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from origin.build.gguf.forward import chunks, open_forward
from origin.build.gguf.nodes import check_layout, name_of, node_at, numbers_of, operation_of, source_of
from origin.build.step import StepProgress
from origin.errors import StepFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_LAYER_OUTPUT = re.compile(r"l_out-(\d+)")
_WEIGHT = re.compile(r".+\.weight")
_ATTENDED = re.compile(r"attn_(k|v|qkv)\.weight")
_LAST_INPUT = "result_norm"
HEADS = ("output.weight", "token_embd.weight")
"""The matrix that makes logits: the first of these that a model multiplies with."""


@dataclass
class Activations:
    """Sums over all tokens that were read.

    Attributes:
        tokens_count: how many were read.
        squares: by the input's name, the sum of squares of each column.
        grams: by the input's name and whether attention mixes it, the sum of `x xᵀ`, where they were asked for.
        inputs: by the matrix's name, its input's.
        cosines: by the layer, the sum of the cosines between what comes in and what goes out.
    """

    tokens_count: int = 0
    squares: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    grams: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    cosines: dict[int, float] = field(default_factory=dict)

    def importance(self, weight: str) -> NDArray[np.float32] | None:
        """Mean square of each column that `weight` is multiplied with; None when it never was."""
        name = self.inputs.get(weight)
        return None if name is None else (self.squares[name] / max(1, self.tokens_count)).astype(np.float32)

    def gram(self, weight: str) -> NDArray[np.float32] | None:
        """Mean of `x xᵀ` over the tokens; None when it was not asked for.

        For keys and values, x as attention sees it: besides each token its mean with those before it, and the first
        one as often as all others together.
        """
        name = self.inputs.get(weight)
        key = "" if name is None else _gram_key(weight, name)
        if key not in self.grams:
            return None
        return self.grams[key] / np.float32(max(1, self.tokens_count))

    def influences(self) -> NDArray[np.float32]:
        """One minus the mean cosine, by the layer; layers that were not seen count as 1."""
        layers = max(self.cosines, default=-1) + 1
        means = [self.cosines.get(layer, 0.0) / max(1, self.tokens_count) for layer in range(layers)]
        return 1 - np.array(means, np.float32)


class _Watch:
    """Adds to the sums what each node of interest is computed from."""

    def __init__(self, sums: Activations, wants_gram: Callable[[str], bool]) -> None:
        self._sums, self._wants_gram = sums, wants_gram
        self._done: set[str] = set()
        self._before: NDArray[np.float32] | None = None
        self._checked = False

    def begin_chunk(self) -> None:
        self._done.clear()
        self._before = None

    def __call__(self, address: int, ask: bool) -> bool:
        if not self._checked:
            check_layout(address)
            self._checked = True
        node = node_at(address)
        name = name_of(node)
        multiplies = operation_of(address) == "MUL_MAT" and _WEIGHT.fullmatch(
            weight := name_of(node_at(source_of(node, 0)))
        )
        if ask:
            return bool(
                multiplies or name in {_LAST_INPUT, "embd", "inp_embd"} or _LAYER_OUTPUT.fullmatch(name)
            )
        if multiplies:
            given = source_of(node, 1)
            self._add(weight, name_of(node_at(given)), given)
        elif name == _LAST_INPUT:
            for head in HEADS:
                self._add(head, name, address)
            return False  # the logits are not needed
        else:
            self._add_influence(name, numbers_of(address))
        return True

    def _add(self, weight: str, name: str, address: int) -> None:
        sums = self._sums
        sums.inputs[weight] = name
        wanted = self._wants_gram(weight)
        form = _gram_key(weight, name)
        if name in self._done and (form in self._done or not wanted):
            return
        given = numbers_of(address)
        if name not in self._done:
            self._done.add(name)
            squares = np.einsum("tc,tc->c", given, given, dtype=np.float64)
            sums.squares[name] = sums.squares.get(name, 0) + squares
        if wanted:
            self._done.add(form)
            given = _attended(given) if form != name else given
            sums.grams[form] = sums.grams.get(form, np.float32(0)) + given.T @ given

    def _add_influence(self, name: str, after: NDArray[np.float32]) -> None:
        layer = _LAYER_OUTPUT.fullmatch(name)
        before, self._before = self._before, after
        if layer and before is not None and before.shape == after.shape:
            norms = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
            cosines = np.einsum("tc,tc->t", before, after) / np.maximum(norms, 1e-12)
            self._sums.cosines[int(layer[1])] = self._sums.cosines.get(int(layer[1]), 0.0) + float(
                cosines.sum()
            )


def _gram_key(weight: str, name: str) -> str:
    return f"{name} attended" if _ATTENDED.search(weight) else name


def _attended(given: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the errors of keys and values are summed over, since attention mixes tokens.

    Errors that are independent average out in the mean, those that tokens share do not; and much of all attention
    goes to the first token (Xiao et al., "Efficient Streaming Language Models with Attention Sinks", 2024), so that
    an error there reaches every other token.
    """
    count = len(given)
    means = np.cumsum(given, axis=0) / np.arange(1, count + 1, dtype=np.float32)[:, None]
    return np.concatenate([given, means, given[:1] * np.float32(np.sqrt(count))])


def collect(
    model: Path,
    texts: Sequence[str],
    *,
    limit_tokens: int,
    threads_count: int,
    report: Callable[[StepProgress], None],
    wants_gram: Callable[[str], bool] = lambda _weight: False,
    chunk_tokens: int = 512,
) -> Activations:
    """Read at most `limit_tokens` of `texts` and sum up; `wants_gram` is asked by the name of a matrix.

    Raises:
        StepFailedError: llama.cpp cannot open or run the model, or there is too little text.
    """
    sums = Activations()
    watch = _Watch(sums, wants_gram)
    with open_forward(
        model, chunk_tokens=chunk_tokens, threads_count=threads_count, observe=watch
    ) as forward:
        pieces = chunks(forward, texts, chunk_tokens=chunk_tokens, limit_tokens=limit_tokens)
        if not pieces:
            raise StepFailedError("the texts to measure on hold not two tokens; give more text")
        for done, piece in enumerate(pieces):
            report(StepProgress(done=done, total=len(pieces), unit="chunks"))
            watch.begin_chunk()
            forward.read(piece, logits=True)
            sums.tokens_count += len(piece)
    return sums
