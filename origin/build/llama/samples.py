"""Samples: texts as rows of tokens of one length, in an order that a seed decides."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import llama_cpp
import numpy as np

from origin.errors import RecipeInvalidError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from origin.build.texts import TextSet


def token_rows(
    model_file: Path, texts: TextSet, *, seed: int, rows_count: int, row_tokens: int
) -> NDArray[np.int64]:
    """So many rows of so many tokens: the texts in a drawn order, one after the other, and again when they end.

    Raises:
        RecipeInvalidError: all texts together do not fill one row.
    """
    tokenizer = llama_cpp.Llama(str(model_file), vocab_only=True, verbose=False)
    rng = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    order = list(range(len(texts.texts)))
    kept: dict[int, NDArray[np.int64]] = {}
    stream: list[NDArray[np.int64]] = []
    wanted, have = rows_count * row_tokens, 0
    try:
        while have < wanted:
            before = have
            rng.shuffle(order)
            for index in order:
                if index not in kept:
                    tokens = tokenizer.tokenize(texts.texts[index].encode(), add_bos=True, special=False)
                    kept[index] = np.asarray(tokens, np.int64)
                stream.append(kept[index])
                have += kept[index].size
                if have >= wanted:
                    break
            if have - before < row_tokens and have < wanted:
                raise RecipeInvalidError(
                    f"[data.{texts.name}] has {have - before} tokens, and one row of training takes {row_tokens}"
                )
    finally:
        tokenizer.close()
    rows = np.concatenate(stream)[:wanted].reshape(rows_count, row_tokens)
    drawn = np.asarray(rng.sample(range(rows_count), rows_count))
    shuffled: NDArray[np.int64] = rows[drawn]
    return shuffled
