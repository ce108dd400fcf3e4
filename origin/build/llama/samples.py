"""Samples: texts as rows of tokens of one length, in an order that a seed decides."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np

from origin.build.gguf.forward import open_forward
from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from origin.build.texts import TextSet


def read_rows(
    model_file: Path, texts: TextSet, *, seed: int, rows_count: int, row_tokens: int
) -> NDArray[np.int64]:
    """So many rows of so many tokens, as this model's tokenizer cuts the texts.

    A model that was taught to begin texts with a token gets it at the start of each row.

    Raises:
        RecipeInvalidError: all texts together do not fill one row.
    """
    with open_forward(model_file, chunk_tokens=32, threads_count=1) as forward:
        first = forward.first_token
        rows = fill_rows(
            forward.tokens,
            texts,
            rng=random.Random(seed),  # noqa: S311 - to be repeated, not to be secret
            rows_count=rows_count,
            row_tokens=row_tokens - (first is not None),
        )
    if first is None:
        return rows
    return np.concatenate([np.full((rows_count, 1), first, np.int64), rows], axis=1)


def fill_rows(
    tokenize: Callable[[str], list[int]],
    texts: TextSet,
    *,
    rng: random.Random,
    rows_count: int,
    row_tokens: int,
) -> NDArray[np.int64]:
    """The texts in a drawn order, one after the other, and in another order when they end; then rows are drawn.

    Raises:
        RecipeInvalidError: all texts together do not fill one row.
    """
    if not rows_count:
        return np.empty((0, row_tokens), np.int64)
    order = list(range(len(texts.texts)))
    known: dict[int, NDArray[np.int64]] = {}
    stream: list[NDArray[np.int64]] = []
    wanted, have = rows_count * row_tokens, 0
    while have < wanted:
        rng.shuffle(order)
        for index in order:
            if have >= wanted:
                break
            if index not in known:
                known[index] = np.asarray(tokenize(texts.texts[index]), np.int64)
            stream.append(known[index])
            have += known[index].size
        if have < row_tokens:
            raise RecipeInvalidError(
                f"[data.{texts.name}] has {have} tokens, and one row of training takes {row_tokens}",
                param="data",
            )
    rows = np.concatenate(stream)[:wanted].reshape(rows_count, row_tokens)
    drawn: NDArray[np.int64] = rows[rng.sample(range(rows_count), rows_count)]
    return drawn
