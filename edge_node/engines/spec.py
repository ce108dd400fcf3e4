"""EngineSpec: how one release is to be run, as a new engine's process is told."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

EngineKind = Literal["llama", "onnx"]
KvType = Literal["f16", "q8_0"]
SplitMode = Literal["none", "layer", "row"]
Batching = Literal["exact", "fast", "off"]


class EngineSpec(Struct, frozen=True, kw_only=True):
    """How to run one release.

    Attributes:
        model_dir: the directory with the release's files.
        files: their paths below `model_dir`.
        files_sha256: their digests, in that order, in hexadecimal; empty when they are not known.
        threads_count: compute threads; two engines on two cores must have one each.
        context_tokens: prompt plus answer; 0 takes the model's own limit, capped at 4096.
        slots_count: generations worked on at once; 0 leaves it to the engine.
        kv_type: how keys and values are kept; q8_0 takes 0.53 of the memory of f16.
        kv_limit_bytes: what they may take, where two full contexts do not take more; 0 leaves it to the engine.
        prefix_dir: where prefilled prefixes outlive the process; empty keeps them in memory only.
        prefix_limit_bytes: the most that they take there.
        prefix_memory_bytes: the most that those take in memory whose cells were needed for others.
        determinism_probe_s: how long the load may take to find `Ready.deterministic_rows`; 0 does not try.
        guess_tokens: the most tokens that are guessed out of an answer's own text and checked in one step; 0 is none.
        gpu_layers: layers computed by GPUs; -1 is all, 0 none.
        gpu_split: shares of the model for each GPU; empty leaves it to the runtime.
        split_mode: how several GPUs share a model, in llama.cpp's words.
        providers: ONNX Runtime's execution providers, in order; empty takes the CPU.
        batching: which ONNX requests are computed together: `exact` those whose answers are seen not to change by
            it, `fast` all, `off` none.
        keeps_arena: whether ONNX Runtime keeps the memory of its largest run for the next.
    """

    kind: EngineKind
    name: str
    version: str
    model_dir: str
    files: tuple[str, ...]
    files_sha256: tuple[str, ...] = ()
    threads_count: int = 1
    context_tokens: int = 0
    slots_count: int = 0
    kv_type: KvType = "f16"
    kv_limit_bytes: int = 0
    prefix_dir: str = ""
    prefix_limit_bytes: int = 0
    prefix_memory_bytes: int = 256 * 2**20
    determinism_probe_s: float = 0.0
    guess_tokens: int = 0
    gpu_layers: int = 0
    gpu_split: tuple[float, ...] = ()
    split_mode: SplitMode = "layer"
    providers: tuple[str, ...] = ()
    batching: Batching = "exact"
    keeps_arena: bool = True
