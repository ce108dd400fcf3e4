"""A context in which each sequence has cells of its own, for what must not depend on other sequences.

Native code aborts on copies of a part between such sequences; nobody here copies any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from llama_cpp import llama_cpp as native

from edge_node.errors import EngineFailedError

if TYPE_CHECKING:
    from edge_node.engines.spec import EngineSpec

_KV_TYPES = {"f16": native.GGML_TYPE_F16, "q8_0": native.GGML_TYPE_Q8_0}


@dataclass(frozen=True, slots=True)
class ExactContext:
    """`rows` sequences of `context_tokens` each."""

    context: Any

    def scores(self, row: int, tokens_count: int) -> Any:
        """The scores of all tokens after a row of the last batch that asked for them."""
        return np.ctypeslib.as_array(native.llama_get_logits_ith(self.context, row), (tokens_count,)).copy()

    def free(self) -> None:
        """Give its memory back."""
        native.llama_free(self.context)


def open_exact(
    spec: EngineSpec, model: Any, *, context_tokens: int, rows: int, chunk_tokens: int
) -> ExactContext:
    """Make such a context for a loaded model.

    Raises:
        EngineFailedError: there is no memory for it.
    """
    params = native.llama_context_default_params()
    params.n_ctx = context_tokens * rows
    params.n_batch = params.n_ubatch = max(chunk_tokens, rows)
    params.n_seq_max = rows
    params.n_threads = params.n_threads_batch = spec.threads_count
    params.kv_unified = False
    params.type_k = params.type_v = _KV_TYPES[spec.kv_type]
    # With it, sums depend on how threads share the length of the cache; quantized values cannot do without.
    params.flash_attn_type = (
        native.LLAMA_FLASH_ATTN_TYPE_DISABLED
        if spec.kv_type == "f16"
        else native.LLAMA_FLASH_ATTN_TYPE_ENABLED
    )
    context = native.llama_init_from_model(model, params)
    if not context:
        raise EngineFailedError("there is no memory for the context of deterministic requests")
    return ExactContext(context)
