"""How the next token is chosen: llama.cpp's chain of samplers, made from a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llama_cpp import llama_cpp as native

from edge_node.engines.llama.generation import Chosen

if TYPE_CHECKING:
    from edge_node.engines import Sampling
    from edge_node.engines.llama.vocabulary import Vocabulary

# The largest seed means "draw one" to llama.cpp.
_SEEDS_COUNT = (1 << 32) - 1


class Sampler:
    """One answer's chain, which remembers the tokens it chose.

    Order: bias and penalties change the scores that the rest reads; top-k before top-p, because it leaves little
    to sort; temperature before top-p, as Transformers and vLLM do it. Penalties count the answer's own tokens, as
    the OpenAI API defines them.
    """

    def __init__(self, sampling: Sampling, vocabulary: Vocabulary, *, seed: int, context_tokens: int) -> None:
        self._chain: Any = native.llama_sampler_chain_init(native.llama_sampler_chain_default_params())
        count = vocabulary.tokens_count
        if sampling.logit_bias:
            pairs = sorted(sampling.logit_bias.items())
            biases = (native.llama_logit_bias * len(pairs))(
                *(native.llama_logit_bias(token, bias) for token, bias in pairs)
            )
            self._add(native.llama_sampler_init_logit_bias(count, len(pairs), biases))
        if sampling.frequency_penalty or sampling.presence_penalty:
            self._add(
                native.llama_sampler_init_penalties(
                    count, context_tokens, 1.0, sampling.frequency_penalty, sampling.presence_penalty
                )
            )
        if sampling.temperature <= 0:
            self._add(native.llama_sampler_init_greedy())
            return
        if sampling.top_k > 0:
            self._add(native.llama_sampler_init_top_k(sampling.top_k))
        self._add(native.llama_sampler_init_temp(sampling.temperature))
        if sampling.top_p < 1:
            self._add(native.llama_sampler_init_top_p(sampling.top_p, 1))
        if sampling.min_p > 0:
            self._add(native.llama_sampler_init_min_p(sampling.min_p, 1))
        self._add(native.llama_sampler_init_dist(seed % _SEEDS_COUNT))

    def choose(self, context: Any, row: int) -> Chosen:
        """The next token after row `row` of the last batch, whose scores must have been asked for."""
        assert self._chain is not None, "a freed sampler chooses nothing"
        return Chosen(int(native.llama_sampler_sample(self._chain, context, row)))

    def free(self) -> None:
        """Give the native memory back; can be called again."""
        if self._chain is not None:
            native.llama_sampler_free(self._chain)
            self._chain = None

    def _add(self, sampler: Any) -> None:
        native.llama_sampler_chain_add(self._chain, sampler)
