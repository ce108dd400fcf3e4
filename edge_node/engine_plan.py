"""How a release is run: by which engine, with what, and how patient the runner is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_node.engines import EngineSpec
from registry.errors import FormatInvalidError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge_node.engines import EngineKind
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
        swap_grace_s: how long requests may go on with a release that was replaced.
        memory_limit_bytes: what all engines together may take; 0 is no limit.
        load_wait_s: how long a request waits for a release that is being loaded before it is refused.
        load_wait_limit_count: how many requests may wait so.
    """

    threads_count: int = 1
    context_tokens: int = 0
    swap_grace_s: float = 300.0
    memory_limit_bytes: int = 0
    load_wait_s: float = 0.0
    load_wait_limit_count: int = 64

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
            threads_count=self.threads_count,
            context_tokens=self.context_tokens,
        )
