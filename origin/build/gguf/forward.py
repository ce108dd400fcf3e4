"""A GGUF model run over texts by llama.cpp: its logits, and a look at every node of its graph on the way."""

from __future__ import annotations

import ctypes
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import llama_cpp
import numpy as np
from llama_cpp import llama_cpp as native

from origin.errors import StepFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_ERROR = 4
_METADATA_BYTES = 256
_errors: deque[str] = deque(maxlen=4)


def _keep_errors(level: int, text: bytes, _data: Any) -> None:
    if level == _ERROR and text.strip():
        _errors.append(text.decode(errors="replace").strip())


_log_callback = native.llama_log_callback(_keep_errors)


class _Observer:
    """Calls what observes the graph. No exception crosses the library: the first is kept, and nothing seen after it."""

    def __init__(self, observe: Callable[[int, bool], bool]) -> None:
        self._observe = observe
        self.error: BaseException | None = None

    def __call__(self, address: int, ask: bool, _data: Any) -> bool:
        if self.error is not None:
            return False
        try:
            return self._observe(address, ask)
        except BaseException as error:  # noqa: BLE001 - raised again by `Forward.read`
            self.error = error
            return False


class Forward:
    """An open model that reads chunks of tokens, each from an empty cache.

    Attributes:
        vocabulary_count: how many logits a token has.
    """

    def __init__(self, model: Any, context: Any, chunk_tokens: int, observer: _Observer | None) -> None:
        self._model, self._context, self._observer = model, context, observer
        self._vocabulary = native.llama_model_get_vocab(model)
        self.vocabulary_count: int = native.llama_vocab_n_tokens(self._vocabulary)
        self._batch = native.llama_batch_init(chunk_tokens, 0, 1)
        self._chunk_tokens = chunk_tokens

    def tokens(self, text: str) -> list[int]:
        """The tokens of a text, without a token that begins texts."""
        encoded = text.encode()
        found = (native.llama_token * (len(encoded) + 8))()
        count = native.llama_tokenize(
            self._vocabulary, encoded, len(encoded), found, len(found), False, False
        )
        return list(found[: max(0, count)])

    @property
    def first_token(self) -> int | None:
        """The token that begins every text, of a model that was taught so."""
        wanted = native.llama_vocab_get_add_bos(self._vocabulary)
        return int(native.llama_vocab_bos(self._vocabulary)) if wanted else None

    def read(self, tokens: Sequence[int], *, logits: bool = False) -> None:
        """Compute over `tokens`, from an empty cache; `logits` for every one of them instead of the last.

        Raises:
            StepFailedError: llama.cpp cannot.
            BaseException: whatever the observer raised.
        """
        count = len(tokens)
        if not 0 < count <= self._chunk_tokens:
            raise StepFailedError(f"a chunk of {count} tokens where at most {self._chunk_tokens} are read")
        native.llama_memory_clear(native.llama_get_memory(self._context), True)
        batch = self._batch
        batch.n_tokens = count
        np.ctypeslib.as_array(batch.token, (count,))[:] = tokens
        np.ctypeslib.as_array(batch.pos, (count,))[:] = np.arange(count)
        np.ctypeslib.as_array(batch.n_seq_id, (count,))[:] = 1
        np.ctypeslib.as_array(batch.logits, (count,))[:] = logits
        batch.logits[count - 1] = True
        for place in range(count):
            batch.seq_id[place][0] = 0
        status = native.llama_decode(self._context, batch)
        if self._observer is not None and self._observer.error is not None:
            raise self._observer.error
        if status:
            raise StepFailedError(f"llama.cpp could not compute over {count} tokens ({status}){said()}")

    def logits(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """The logits after each of `tokens`, float32 [tokens, vocabulary]; valid until the next call.

        Raises:
            StepFailedError: llama.cpp cannot.
        """
        self.read(tokens, logits=True)
        return np.ctypeslib.as_array(
            native.llama_get_logits(self._context), (len(tokens), self.vocabulary_count)
        )

    def close(self) -> None:
        """Give the memory back."""
        native.llama_batch_free(self._batch)
        native.llama_free(self._context)
        native.llama_model_free(self._model)


@contextmanager
def open_forward(
    path: Path,
    *,
    chunk_tokens: int,
    threads_count: int,
    observe: Callable[[int, bool], bool] | None = None,
    writable: bool = False,
) -> Iterator[Forward]:
    """Open the model of `path` for chunks of at most `chunk_tokens`.

    `observe` is asked for each node of the graph (its address, True) whether it wants to see it, and if so called
    again (its address, False) when it is computed; False then stops the computation. What it raises, `read` raises.

    Weights of a `writable` one may be overwritten.

    Raises:
        StepFailedError: llama.cpp cannot open it.
    """
    _errors.clear()
    native.llama_log_set(_log_callback, ctypes.c_void_p(0))
    native.llama_backend_init()
    wanted = native.llama_model_default_params()
    wanted.n_gpu_layers = 0
    if writable:  # in memory of its own, and laid out as in the file
        wanted.load_mode = native.LLAMA_LOAD_MODE_NONE
        wanted.use_extra_bufts = False
    model = native.llama_model_load_from_file(str(path).encode(), wanted)
    if not model:
        raise StepFailedError(f"llama.cpp {llama_cpp.__version__} cannot open {path.name}{said()}")
    settings = native.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = chunk_tokens
    settings.n_threads = settings.n_threads_batch = threads_count
    observer = _Observer(observe) if observe is not None else None
    callback = None
    if observer is not None:
        callback = native.ggml_backend_sched_eval_callback(observer)
        settings.cb_eval = callback
    context = native.llama_init_from_model(model, settings)
    if not context:
        native.llama_model_free(model)
        raise StepFailedError(f"llama.cpp cannot make a context for {path.name}{said()}")
    forward = Forward(model, context, chunk_tokens, observer)
    try:
        yield forward
    finally:
        forward.close()
        del callback  # the library called it until now


def said() -> str:
    """What llama.cpp complained about last, to be put behind a message."""
    return f": {'; '.join(_errors)}" if _errors else ""


def chunks(
    forward: Forward, texts: Sequence[str], *, chunk_tokens: int, limit_tokens: int
) -> list[list[int]]:
    """The texts' tokens one after the other, in chunks of one length; what is left over is not used.

    A model that was taught to begin texts with a token gets it at the start of each chunk.
    """
    first = forward.first_token
    room = chunk_tokens - (first is not None)
    pieces: list[list[int]] = []
    pending: list[int] = []
    for text in texts:
        pending += forward.tokens(text)
        while len(pending) >= room and len(pieces) * chunk_tokens < limit_tokens:
            pieces.append(([] if first is None else [first]) + pending[:room])
            pending = pending[room:]
        if len(pieces) * chunk_tokens >= limit_tokens:
            return pieces
    if not pieces and len(pending) > 1:
        pieces.append(([] if first is None else [first]) + pending)
    return pieces
