"""How a release is run: by which engine, with what, and how patient the runner is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edge_node.engine_room import LANE_ROWS_LIMIT, EngineRoom, cells_limit_bytes
from edge_node.engines.spec import EngineSpec
from edge_node.model_store import prefix_directory
from registry.errors import FormatInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edge_node.config import NodeConfig
    from edge_node.engines.spec import Batching, EngineKind, KvType, SplitMode
    from edge_node.model_store import InstalledRelease

_ENGINES: Mapping[str, EngineKind] = {"gguf": "llama", "onnx": "onnx"}


def engine_kind(release: str, kind: str) -> EngineKind:
    """Which engine serves a kind of release.

    Raises:
        FormatInvalidError: none does.
    """
    if kind not in _ENGINES:
        raise FormatInvalidError(
            f"{release} is of the kind {kind!r}, which no engine can serve: publish a GGUF or ONNX file"
        )
    return _ENGINES[kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerLimits:
    """What the runner gives to each engine, and how patient it is.

    Attributes:
        threads_count: compute threads of each engine.
        context_tokens: prompt plus answer; 0 leaves it to the model.
        cells_limit_bytes: what the cells of one model may take beyond two contexts; 0 leaves it to the engine.
        slots_count, kv_type, gpu_layers, gpu_split, split_mode: as in `EngineSpec`.
        swap_grace_s: how long requests may go on with a release that was replaced.
        memory_limit_bytes: what all engines together may take; 0 is no limit.
        load_wait_s: how long a request waits for a release that is being loaded before it is refused.
        load_wait_limit_count: how many requests may wait so.
        prefix_root: below this, prefixes outlive the engines, each release's in a directory of its own; None is
            nowhere.
        prefix_limit_bytes: what those of one release may take there.
        determinism_probe_s: how long a load may try how many deterministic answers can share a batch; 0 does not.
        guess_tokens: the most tokens of an answer that are guessed and checked in one step; 0 is none.
        prefix_memory_bytes: what prefixes that left its cells may take in one engine's memory.
        onnx_providers: ONNX Runtime's execution providers, in order; empty takes the CPU.
        onnx_batching: which requests of ONNX models are computed together.
        onnx_keeps_arena: whether ONNX Runtime keeps the memory of its largest run.
    """

    threads_count: int = 1
    context_tokens: int = 0
    slots_count: int = 0
    cells_limit_bytes: int = 0
    kv_type: KvType = "f16"
    gpu_layers: int = 0
    gpu_split: tuple[float, ...] = ()
    split_mode: SplitMode = "layer"
    swap_grace_s: float = 300.0
    memory_limit_bytes: int = 0
    load_wait_s: float = 0.0
    load_wait_limit_count: int = 64
    prefix_root: Path | None = None
    prefix_limit_bytes: int = 0
    prefix_memory_bytes: int = 256 * 2**20
    determinism_probe_s: float = 0.0
    guess_tokens: int = 0
    onnx_providers: tuple[str, ...] = ()
    onnx_batching: Batching = "exact"
    onnx_keeps_arena: bool = True

    def spec(self, release: InstalledRelease) -> EngineSpec:
        """How one release is run.

        Raises:
            FormatInvalidError: no engine can serve this kind.
        """
        return EngineSpec(
            kind=engine_kind(f"{release.name}@{release.version}", release.kind),
            name=release.name,
            version=release.version,
            model_dir=str(release.files_dir),
            files=release.files,
            files_sha256=release.files_sha256,
            threads_count=self.threads_count,
            context_tokens=self.context_tokens,
            slots_count=self.slots_count,
            kv_limit_bytes=self.cells_limit_bytes,
            kv_type=self.kv_type,
            gpu_layers=self.gpu_layers,
            gpu_split=self.gpu_split,
            split_mode=self.split_mode,
            prefix_dir=str(prefix_directory(self.prefix_root, release.directory)) if self.prefix_root else "",
            prefix_limit_bytes=self.prefix_limit_bytes,
            prefix_memory_bytes=self.prefix_memory_bytes,
            determinism_probe_s=self.determinism_probe_s,
            guess_tokens=self.guess_tokens,
            providers=self.onnx_providers,
            batching=self.onnx_batching,
            keeps_arena=self.onnx_keeps_arena,
        )


class Measured(Protocol):
    """Takes how fast a quantization writes."""

    def __call__(self, quantization: str, *, weights_bytes: int, tokens_per_s: float) -> None:
        """Take it."""


def engine_room(config: NodeConfig, *, memory_bytes: int) -> EngineRoom:
    """How the memory of llama engines is allotted on a machine with so much of it."""
    return EngineRoom(
        slots_count=config.slots_count,
        kv_type=config.kv_type,
        cells_limit_bytes=cells_limit_bytes(memory_bytes),
        prefix_memory_bytes=config.prefix_memory_bytes,
        # Where none is certified, the lane has one row all the same.
        lane_rows_count=LANE_ROWS_LIMIT if config.determinism_probe_s else 1,
    )


def runner_limits(
    config: NodeConfig, *, room: EngineRoom, memory_limit_bytes: int, prefix_root: Path
) -> RunnerLimits:
    """What the settings say of engines, with the memory that there really is."""
    return RunnerLimits(
        threads_count=config.threads_count,
        context_tokens=config.context_tokens,
        slots_count=config.slots_count,
        cells_limit_bytes=room.cells_limit_bytes,
        kv_type=config.kv_type,
        gpu_layers=config.gpu_layers_count,
        gpu_split=config.gpu_split,
        split_mode=config.split_mode,
        swap_grace_s=config.swap_grace_s,
        memory_limit_bytes=memory_limit_bytes,
        load_wait_s=config.load_wait_s,
        load_wait_limit_count=config.queue_limit_count,
        prefix_root=prefix_root if config.prefix_cache_bytes else None,
        prefix_limit_bytes=config.prefix_cache_bytes,
        prefix_memory_bytes=config.prefix_memory_bytes,
        determinism_probe_s=config.determinism_probe_s,
        guess_tokens=config.guess_tokens,
        onnx_providers=config.onnx_providers,
        onnx_batching=config.onnx_batching,
        onnx_keeps_arena=config.onnx_keeps_arena,
    )
