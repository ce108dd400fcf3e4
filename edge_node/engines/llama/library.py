"""Opening a GGUF file with llama.cpp: the model, its context, and what the library prints meanwhile."""

from __future__ import annotations

import ctypes
import re
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llama_cpp
from llama_cpp import llama_cpp as native

from edge_node.errors import EngineFailedError

if TYPE_CHECKING:
    from edge_node.engines import EngineSpec

DEFAULT_CONTEXT_TOKENS = 4096
_WARNING, _ERROR, _CONTINUED = 3, 4, 5
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
# Architectures that read text and do not continue it: decoding them aborts, or gives nonsense.
_ENCODERS = ("bert", "t5", "embedding", "wavtokenizer", "cls")
_METADATA_BYTES = 256


class NativeLog:
    """llama.cpp's own log: warnings and errors go to stderr, errors are kept for our messages."""

    def __init__(self) -> None:
        self._level = _ERROR
        self._errors: deque[str] = deque(maxlen=4)
        # Kept: the library calls it for as long as the process lives.
        self._callback = native.llama_log_callback(self._print)
        native.llama_log_set(self._callback, ctypes.c_void_p(0))

    def errors(self) -> str:
        """The last errors in one line."""
        return "; ".join(self._errors)

    def _print(self, level: int, text: bytes, _data: Any) -> None:
        self._level = self._level if level == _CONTINUED else level
        if self._level < _WARNING:
            return
        line = text.decode(errors="replace")
        sys.stderr.write(line)
        if self._level == _ERROR and level != _CONTINUED and line.strip():
            self._errors.append(line.strip())


@dataclass(frozen=True, slots=True)
class OpenModel:
    """A loaded model with its context; it lives as long as the process."""

    model: Any
    context: Any
    architecture: str
    template: str | None
    context_tokens: int
    cells_count: int


def gguf_path(spec: EngineSpec) -> Path:
    """The GGUF file to open: the only one, or the first of a complete split.

    Raises:
        EngineFailedError: there is none, or it is not clear which.
    """
    names = sorted(name for name in spec.files if name.lower().endswith(".gguf"))
    if not names:
        raise EngineFailedError("the release has no .gguf file, which the llama engine needs")
    split = _SPLIT.search(names[0])
    expected_count = int(split[2]) if split and int(split[1]) == 1 else 1
    if len(names) != expected_count:
        raise EngineFailedError(
            f"the release has {len(names)} .gguf files where one model needs {expected_count}: {', '.join(names)}"
        )
    return Path(spec.model_dir, names[0])


def open_model(spec: EngineSpec, native_log: NativeLog, *, slots_count: int, batch_tokens: int) -> OpenModel:
    """Map the file into memory and make a context whose cells all slots share.

    Raises:
        EngineFailedError: llama.cpp cannot read the file, or it is no model that continues text.
    """
    path = gguf_path(spec)
    if not path.is_file():
        raise EngineFailedError(f"{path.name} is not in the release's directory")
    native.llama_backend_init()
    model = native.llama_model_load_from_file(str(path).encode(), native.llama_model_default_params())
    if not model:
        raise EngineFailedError(
            f"llama.cpp cannot load {path.name}: {native_log.errors() or 'no reason given'}"
        )
    architecture = _metadata(model, "general.architecture")
    _refuse_encoders(model, architecture)
    limit_tokens = spec.context_tokens or DEFAULT_CONTEXT_TOKENS
    context_tokens = min(native.llama_model_n_ctx_train(model), limit_tokens)
    context = native.llama_init_from_model(
        model, _context_params(spec, context_tokens, slots_count=slots_count, batch_tokens=batch_tokens)
    )
    if not context:
        raise EngineFailedError(
            f"llama.cpp cannot make a context of {context_tokens} tokens for {path.name}: "
            f"{native_log.errors() or 'no reason given'}; a smaller `context_tokens` needs less memory"
        )
    template = native.llama_model_chat_template(model, None)
    return OpenModel(
        model=model,
        context=context,
        architecture=architecture,
        template=template.decode(errors="replace") if template else None,
        context_tokens=context_tokens,
        cells_count=native.llama_n_ctx(context),
    )


def engine_fingerprint(spec: EngineSpec) -> str:
    """What the same tokens depend on besides the model: library, type of the KV cache, threads."""
    return f"llama-{llama_cpp.__version__}-f16-t{spec.threads_count}"


def _context_params(spec: EngineSpec, context_tokens: int, *, slots_count: int, batch_tokens: int) -> Any:
    params = native.llama_context_default_params()
    # Room for two full contexts, shared: short requests fill all slots, long ones wait or are put off.
    params.n_ctx = context_tokens * min(2, slots_count)
    params.n_batch = params.n_ubatch = batch_tokens
    params.n_seq_max = slots_count
    params.n_threads = params.n_threads_batch = spec.threads_count
    params.kv_unified = True
    return params


def _refuse_encoders(model: Any, architecture: str) -> None:
    causal = _metadata(model, f"{architecture}.attention.causal")
    named = any(mark in architecture for mark in _ENCODERS)
    if (
        causal == "false"
        or named
        or native.llama_model_has_encoder(model)
        or native.llama_model_is_diffusion(model)
    ):
        raise EngineFailedError(
            f"a GGUF model of architecture {architecture!r} does not continue text, and this engine does nothing else; "
            "embedding models are served from their ONNX export"
        )


def _metadata(model: Any, key: str) -> str:
    buffer = ctypes.create_string_buffer(_METADATA_BYTES)
    length = native.llama_model_meta_val_str(model, key.encode(), buffer, _METADATA_BYTES)
    return buffer.value.decode(errors="replace") if length >= 0 else ""
