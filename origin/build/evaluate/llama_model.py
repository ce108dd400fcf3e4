"""A GGUF model in llama.cpp for measuring: every logit of a text, its tokens, and the CPU time that work takes.

Only a child process comes here: the library ends its process where a file breaks its assumptions.
"""

from __future__ import annotations

import ctypes
import sys
import time
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from llama_cpp import llama_cpp as native

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from origin.build.evaluate.divergence import Floats

CONTEXT_TOKENS = 1024
_PIECE_BYTES = 512
_ERROR = 4


class ModelUnreadableError(Exception):
    """llama.cpp cannot load a file, or cannot compute with it."""


def _print_errors(level: int, text: bytes, _data: Any) -> None:
    if level == _ERROR:
        sys.stderr.write(text.decode(errors="replace"))


_LOG = native.llama_log_callback(_print_errors)


class LlamaModel:
    """An open model with a context of its own; a context manager.

    Attributes:
        tokens_count: the size of its vocabulary.
        adds_bos: a text begins with a token of its own.
        context_tokens: how many its context holds.
    """

    def __init__(
        self,
        path: Path,
        threads_count: int,
        *,
        checked: bool = False,
        mapped: bool = True,
        limit_tokens: int | None = None,
    ) -> None:
        """Load a file; `checked` reads all of it and refuses weights that are no numbers.

        Not `mapped`, its weights are in memory once, and not beside the file's pages. With `limit_tokens` the context
        is as nodes make it: as long as the model was made for, and no longer than this.

        Raises:
            ModelUnreadableError: llama.cpp cannot load it.
        """
        native.llama_log_set(_LOG, ctypes.c_void_p(0))
        native.llama_backend_init()
        model_params = native.llama_model_default_params()
        # Of a scale that is no number nothing may be seen: rounding the products to 8 bits makes zeros of them.
        model_params.check_tensors = checked
        if not mapped:
            model_params.load_mode = native.LLAMA_LOAD_MODE_NONE
        self._model = native.llama_model_load_from_file(str(path).encode(), model_params)
        if not self._model:
            raise ModelUnreadableError("llama.cpp cannot load it")
        params = native.llama_context_default_params()
        params.n_ctx = params.n_batch = CONTEXT_TOKENS
        if limit_tokens is not None:
            params.n_ctx = min(native.llama_model_n_ctx_train(self._model), limit_tokens)
        params.n_ubatch = CONTEXT_TOKENS // 2
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = threads_count
        self._context = native.llama_init_from_model(self._model, params)
        if not self._context:
            raise ModelUnreadableError("llama.cpp cannot make a context for it")
        self.context_tokens: int = native.llama_n_ctx(self._context)
        self._vocab = native.llama_model_get_vocab(self._model)
        self.tokens_count: int = native.llama_vocab_n_tokens(self._vocab)
        self.adds_bos: bool = native.llama_vocab_get_add_bos(self._vocab)
        self._batch = native.llama_batch_init(CONTEXT_TOKENS, 0, 1)

    def __enter__(self) -> Self:
        """The model itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Free it."""
        native.llama_batch_free(self._batch)
        native.llama_free(self._context)
        native.llama_model_free(self._model)

    def tokenize(self, text: str) -> list[int]:
        """The tokens of a text, with the one that begins it where the model wants one; no other special ones."""
        encoded = text.encode()
        buffer = (native.llama_token * (len(encoded) + 8))()
        count = native.llama_tokenize(
            self._vocab, encoded, len(encoded), buffer, len(buffer), self.adds_bos, False
        )
        return list(buffer[: max(0, count)])

    def vocabulary(self) -> list[tuple[bytes, int]]:
        """What each token stands for, and its attributes."""
        buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        rows = []
        for token in range(self.tokens_count):
            length = native.llama_token_to_piece(self._vocab, token, buffer, _PIECE_BYTES, 0, True)
            rows.append((buffer.raw[: max(0, length)], int(native.llama_vocab_get_attr(self._vocab, token))))
        return rows

    def piece(self, token: int) -> bytes:
        """What a token stands for."""
        buffer = ctypes.create_string_buffer(_PIECE_BYTES)
        length = native.llama_token_to_piece(self._vocab, token, buffer, _PIECE_BYTES, 0, True)
        return buffer.raw[: max(0, length)]

    def special_tokens(self) -> list[int]:
        """The ids of those that begin and end texts and turns."""
        find = (native.llama_vocab_bos, native.llama_vocab_eos, native.llama_vocab_eot)
        return [int(each(self._vocab)) for each in find]

    def logits(self, tokens: Sequence[int]) -> Floats:
        """The logits after each of these tokens: [tokens, vocabulary]; a view that the next call overwrites."""
        self._forget()
        self._decode(tokens, 0, all_logits=True)
        pointer = native.llama_get_logits(self._context)
        return np.ctypeslib.as_array(pointer, (len(tokens), self.tokens_count))

    def read(self, tokens: Sequence[int]) -> None:
        """Read these tokens, up to the logits after the last of them."""
        self._forget()
        self._decode(tokens, 0, all_logits=False)
        native.llama_synchronize(self._context)

    def race(self, tokens: Sequence[int], written_count: int) -> tuple[float, float]:
        """CPU seconds for reading these tokens up to the first logits, and for writing some more after them."""
        start_s = time.process_time()
        self.read(tokens)
        read_s = time.process_time()
        for index in range(written_count):
            self._decode([tokens[index % len(tokens)]], len(tokens) + index, all_logits=False)
            native.llama_synchronize(self._context)
        return read_s - start_s, time.process_time() - read_s

    def _forget(self) -> None:
        native.llama_memory_clear(native.llama_get_memory(self._context), True)

    def _decode(self, tokens: Sequence[int], position: int, *, all_logits: bool) -> None:
        count = len(tokens)
        if not 0 < count <= CONTEXT_TOKENS - position or max(tokens) >= self.tokens_count:
            raise ModelUnreadableError("its tokens do not fit the text")
        for index, token in enumerate(tokens):
            self._batch.token[index] = token
            self._batch.pos[index] = position + index
            self._batch.n_seq_id[index] = 1
            self._batch.seq_id[index][0] = 0
            self._batch.logits[index] = all_logits or index == count - 1
        self._batch.n_tokens = count
        code = native.llama_decode(self._context, self._batch)
        if code:
            raise ModelUnreadableError(f"llama.cpp cannot compute a text with it (code {code})")
