"""Opening a GGUF file with llama.cpp: the model, its context, and what the library prints meanwhile."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import llama_cpp
from llama_cpp import llama_cpp as native

from edge_node.engine_room import DEFAULT_SLOTS_COUNT, KV_SHARES, cells_count, cells_limit_bytes
from edge_node.errors import EngineFailedError

if TYPE_CHECKING:
    from edge_node.engines.spec import EngineSpec

DEFAULT_CONTEXT_TOKENS = 4096
# llama.cpp aborts on a sequence past this.
_SEQUENCES_LIMIT = 256
_SPARE_SEQUENCES_COUNT = 16
# Where what leaves the cells is kept in memory, bringing it back costs little beside reading it again: fewer are not
# worth the speed.
_LEAST_REMEMBERED_COUNT, _REMEMBERED_COST = 256, 0.005
# Where it would be lost.
_LEAST_ONLY_COUNT, _ONLY_COST = 2048, 0.05
_KV_TYPES = {"f16": native.GGML_TYPE_F16, "q8_0": native.GGML_TYPE_Q8_0}
_SPLIT_MODES = {
    "none": native.LLAMA_SPLIT_MODE_NONE,
    "layer": native.LLAMA_SPLIT_MODE_LAYER,
    "row": native.LLAMA_SPLIT_MODE_ROW,
}
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
    """A loaded model with its context; it lives as long as the process.

    Attributes:
        context_tokens: the most that one sequence may hold.
        cells_count: the most that all sequences may hold together.
        slots_count: generations at work at once.
        sequences_count: slots, and sequences that remember.
        batch_tokens: the most rows of one decode.
        copies_parts: a sequence can begin with a part of another.
        remembered_cells_count: the most cells that sequences not at work should hold.
    """

    model: Any
    context: Any
    architecture: str
    template: str | None
    context_tokens: int
    cells_count: int
    slots_count: int
    sequences_count: int
    batch_tokens: int
    copies_parts: bool
    remembered_cells_count: int


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


def open_model(spec: EngineSpec, native_log: NativeLog, *, chunk_tokens: int) -> OpenModel:
    """Map the file into memory and make a context whose cells all sequences share.

    `chunk_tokens` are the most rows of prompts in one decode.

    Raises:
        EngineFailedError: llama.cpp cannot read the file, or it is no model that continues text.
    """
    path = gguf_path(spec)
    if not path.is_file():
        raise EngineFailedError(f"{path.name} is not in the release's directory")
    native.llama_backend_init()
    model_params, _kept = _model_params(spec)
    model = native.llama_model_load_from_file(str(path).encode(), model_params)
    if not model:
        raise EngineFailedError(
            f"llama.cpp cannot load {path.name}: {native_log.errors() or 'no reason given'}"
        )
    architecture = _metadata(model, "general.architecture")
    _refuse_encoders(model, architecture)
    limit_tokens = spec.context_tokens or DEFAULT_CONTEXT_TOKENS
    context_tokens = min(native.llama_model_n_ctx_train(model), limit_tokens)
    params = _context_params(spec, model, context_tokens, chunk_tokens=chunk_tokens)
    context = native.llama_init_from_model(model, params)
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
        slots_count=_slots_count(spec),
        sequences_count=params.n_seq_max,
        batch_tokens=params.n_batch,
        copies_parts=not _is_recurrent(model),
        remembered_cells_count=remembered_cells_count(
            parameters_count=native.llama_model_n_params(model),
            heads_count=native.llama_model_n_layer(model) * native.llama_model_n_head(model),
            kept_in_memory=bool(spec.prefix_memory_bytes) and not _is_recurrent(model),
        ),
    )


def engine_fingerprint(spec: EngineSpec) -> str:
    """What the same tokens depend on besides the model: library, type of the KV cache, threads."""
    return f"llama-{llama_cpp.__version__}-{spec.kv_type}-t{spec.threads_count}"


def remembered_cells_count(*, parameters_count: int, heads_count: int, kept_in_memory: bool) -> int:
    """How many cells may be kept of sequences that are not at work.

    Every row looks at the mask of every cell up to the last that is used, in each head of each layer. Measured on a CPU
    (`tests/bench/bench_choosing.py`): a cell costs 1.2 ns a head, a row 58 ns for 1,000 parameters. That is while the
    kept cells lie together; after some streams at once they lie scattered, and the free ones between them cost as much.
    So where what leaves the cells is `kept_in_memory` only a two-hundredth of the speed is given for it, and nothing
    where that keeps too little. Elsewhere it is a twentieth, since what is lost must be computed again.
    """
    row_ns, cell_ns = 0.058 * parameters_count, 1.2 * max(1, heads_count)
    if not kept_in_memory:
        return max(_LEAST_ONLY_COUNT, int(_ONLY_COST * row_ns / cell_ns))
    count = int(_REMEMBERED_COST * row_ns / cell_ns)
    return count if count >= _LEAST_REMEMBERED_COUNT else 0


def _slots_count(spec: EngineSpec) -> int:
    return min(spec.slots_count or DEFAULT_SLOTS_COUNT, _SEQUENCES_LIMIT)


def _model_params(spec: EngineSpec) -> tuple[Any, Any]:
    """The parameters, and what they point to, which must outlive the load.

    Raises:
        EngineFailedError: GPUs are asked for that this build of llama.cpp cannot use.
    """
    if (spec.gpu_layers or spec.gpu_split) and not native.llama_supports_gpu_offload():
        # llama.cpp says nothing, and computes everything on the CPU.
        raise EngineFailedError(
            "node.gpu_layers_count or node.gpu_split asks for GPUs, and the installed llama-cpp-python computes on the "
            "CPU alone: install one that is built for your GPUs, or leave both out"
        )
    params = native.llama_model_default_params()
    params.n_gpu_layers = spec.gpu_layers
    params.split_mode = _SPLIT_MODES[spec.split_mode]
    devices_count = native.llama_max_devices()
    if len(spec.gpu_split) > devices_count:
        raise EngineFailedError(
            f"gpu_split names {len(spec.gpu_split)} devices, this build of llama.cpp knows {devices_count}"
        )
    shares = (ctypes.c_float * devices_count)(*spec.gpu_split)
    if spec.gpu_split:
        params.tensor_split = shares
    return params, shares


def _context_params(spec: EngineSpec, model: Any, context_tokens: int, *, chunk_tokens: int) -> Any:
    params = native.llama_context_default_params()
    slots_count = _slots_count(spec)
    params.n_ctx = cells_count(
        context_tokens,
        slots_count=slots_count,
        token_bytes=token_bytes(model, spec),
        limit_bytes=kv_limit_bytes(spec),
    )
    params.n_batch = params.n_ubatch = max(chunk_tokens, slots_count)
    # Recurrent models keep a state of fixed size for each: none to spare there.
    spare_count = 0 if _is_recurrent(model) else slots_count + _SPARE_SEQUENCES_COUNT
    params.n_seq_max = min(slots_count + spare_count, _SEQUENCES_LIMIT)
    params.n_threads = params.n_threads_batch = spec.threads_count
    params.kv_unified = True
    params.type_k = params.type_v = _KV_TYPES[spec.kv_type]
    if spec.kv_type != "f16":
        # Without it llama.cpp refuses quantized values.
        params.flash_attn_type = native.LLAMA_FLASH_ATTN_TYPE_ENABLED
    return params


def kv_limit_bytes(spec: EngineSpec) -> int:
    """What cells may take beyond two contexts."""
    return spec.kv_limit_bytes or cells_limit_bytes(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def token_bytes(model: Any, spec: EngineSpec) -> float:
    """About what one cell takes in all layers."""
    heads_count = max(1, native.llama_model_n_head(model))
    width: float = native.llama_model_n_embd(model) * native.llama_model_n_head_kv(model) / heads_count
    layers_count = int(native.llama_model_n_layer(model))
    return max(1.0, layers_count * 2 * width * 2.0 * KV_SHARES[spec.kv_type])


def _is_recurrent(model: Any) -> bool:
    return bool(native.llama_model_is_recurrent(model) or native.llama_model_is_hybrid(model))


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
