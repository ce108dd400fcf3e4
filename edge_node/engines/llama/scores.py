"""How probable tokens were, as the API's `logprobs` tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge_node.engines import Choice, TokenScore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edge_node.engines.llama.vocabulary import Vocabulary


def token_score(
    logits: NDArray[np.float32],
    token: int,
    *,
    top_count: int,
    bias: Mapping[int, float],
    vocabulary: Vocabulary,
) -> TokenScore:
    """The logarithm of a token's probability (of the softmax of the scores with the bias), and the best ones'."""
    biased = logits.astype(np.float64)
    for biased_token, value in bias.items():
        biased[biased_token] += value
    highest = biased.max()
    logprobs = biased - (highest + np.log(np.exp(biased - highest).sum()))
    best: list[int] = []
    if top_count:
        some = np.argpartition(-logprobs, top_count)[:top_count]
        # Of equal ones the first: the same order on every machine.
        best = sorted((int(each) for each in some), key=lambda each: (-logprobs[each], each))

    def choice(each: int) -> Choice:
        return Choice(each, vocabulary.shown(each), float(logprobs[each]))

    return TokenScore(choice(token), tuple(choice(each) for each in best))
