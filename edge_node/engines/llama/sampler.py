"""How the next token is chosen: llama.cpp's chain of samplers, made from a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from llama_cpp import llama_cpp as native

from edge_node.engines.llama.chance import bits_of
from edge_node.engines.llama.constraint import Constraint
from edge_node.engines.llama.generation import Chosen
from edge_node.engines.llama.scores import token_score
from edge_node.errors import ResumeMismatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge_node.engines import Sampling
    from edge_node.engines.llama.vocabulary import Vocabulary

# The largest seed means "draw one" to llama.cpp.
_SEEDS_COUNT = (1 << 32) - 1


class Sampler:
    """One answer's chain, which remembers the tokens it chose.

    Order: bias and penalties change the scores that the rest reads; top-k before top-p, because it leaves little
    to sort; temperature before top-p, as Transformers and vLLM do it. Penalties count the answer's own tokens, as
    the OpenAI API defines them. A grammar is asked last: the chain chooses freely, and again among the tokens that may
    come when its choice may not (as llama.cpp's own programs do; the distribution is the same). The last sampler, which
    draws, is made anew for each token, from the chance of its place (`chance`).
    """

    def __init__(self, sampling: Sampling, vocabulary: Vocabulary, *, seed: int, context_tokens: int) -> None:
        """Make the chain.

        Raises:
            RequestInvalidError: the grammar is not understood.
        """
        self._sampling = sampling
        self._vocabulary = vocabulary
        self._constraint = Constraint(sampling.grammar, vocabulary) if sampling.grammar else None
        self._seed = seed
        self._place = 0
        self._chain = _chain(sampling, vocabulary.tokens_count, context_tokens=context_tokens)

    def choose(self, context: Any, row: int) -> Chosen:
        """The next token after row `row` of the last batch, whose scores must have been asked for."""
        assert self._chain is not None, "a freed sampler chooses nothing"
        self._place_draw()
        if self._constraint is None:
            token = int(native.llama_sampler_sample(self._chain, context, row))
        else:
            token = self._choose_within(self._constraint, self._logits(context, row))
        count = self._sampling.logprobs_count
        if count is None or self._vocabulary.ends_answer(token):
            return Chosen(token)
        score = token_score(
            self._logits(context, row),
            token,
            top_count=count,
            bias=self._sampling.logit_bias,
            vocabulary=self._vocabulary,
        )
        return Chosen(token, score)

    def follow(self, tokens: Sequence[int]) -> None:
        """Go on after these tokens, which penalties count and the grammar has read.

        Raises:
            ResumeMismatchError: the grammar does not allow one of them.
        """
        assert self._chain is not None, "a freed sampler chooses nothing"
        for place, token in enumerate(tokens):
            if self._constraint is not None and not self._vocabulary.ends_answer(token):
                if not self._constraint.takes(token):
                    raise ResumeMismatchError(
                        "the answer must have a certain form, and could not have begun with these tokens",
                        param=f"edgeward.resume.tokens[{place}]",
                    )
                self._constraint.accept(token)
            native.llama_sampler_accept(self._chain, token)
        self._place += len(tokens)

    def free(self) -> None:
        """Give the native memory back; can be called again."""
        if self._constraint is not None:
            self._constraint.free()
        if self._chain is not None:
            native.llama_sampler_free(self._chain)
            self._chain = None

    def _place_draw(self) -> None:
        """Let the draw of the next token depend on its place alone."""
        if self._sampling.temperature > 0:
            last = native.llama_sampler_chain_n(self._chain) - 1
            native.llama_sampler_free(native.llama_sampler_chain_remove(self._chain, last))
            seed = bits_of(self._seed, self._place) % _SEEDS_COUNT
            native.llama_sampler_chain_add(self._chain, native.llama_sampler_init_dist(seed))
        self._place += 1

    def _choose_within(self, constraint: Constraint, logits: NDArray[np.float32]) -> int:
        room = self._vocabulary.candidates
        room.take_all(logits)
        room.leave_out(constraint.silent)
        token = room.draw(self._chain)
        refused: list[int] = []
        while constraint.waits and not constraint.takes(token):
            refused.append(token)
            room.take_all(logits)
            room.leave_out(np.array([*constraint.silent, *refused], np.int32))
            token = room.draw(self._chain)
        if not constraint.takes(token):
            legal = constraint.legal(room)
            if not len(legal):  # a vocabulary that cannot spell what the grammar wants
                return int(self._vocabulary.end_tokens[0])
            room.take(legal, logits[legal])
            token = room.draw(self._chain)
        native.llama_sampler_accept(self._chain, token)
        constraint.accept(token)
        return token

    def _logits(self, context: Any, row: int) -> NDArray[np.float32]:
        scores = native.llama_get_logits_ith(context, row)
        return np.ctypeslib.as_array(scores, (self._vocabulary.tokens_count,))


def _chain(sampling: Sampling, tokens_count: int, *, context_tokens: int) -> Any:
    chain = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())

    def add(sampler: Any) -> None:
        native.llama_sampler_chain_add(chain, sampler)

    if sampling.logit_bias:
        pairs = sorted(sampling.logit_bias.items())
        biases = (native.llama_logit_bias * len(pairs))(
            *(native.llama_logit_bias(token, bias) for token, bias in pairs)
        )
        add(native.llama_sampler_init_logit_bias(tokens_count, len(pairs), biases))
    penalties = (sampling.repeat_penalty, sampling.frequency_penalty, sampling.presence_penalty)
    if penalties != (1.0, 0.0, 0.0):
        add(native.llama_sampler_init_penalties(tokens_count, context_tokens, *penalties))
    if sampling.temperature <= 0:
        add(native.llama_sampler_init_greedy())
        return chain
    if sampling.top_k > 0:
        add(native.llama_sampler_init_top_k(sampling.top_k))
    add(native.llama_sampler_init_temp(sampling.temperature))
    if sampling.top_p < 1:
        add(native.llama_sampler_init_top_p(sampling.top_p, 1))
    if sampling.min_p > 0:
        add(native.llama_sampler_init_min_p(sampling.min_p, 1))
    add(native.llama_sampler_init_dist(0))  # the place of what draws
    return chain
