"""RunnerLease: what one request holds of the runner: one release, and the supervised engine behind it."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from edge_node.engines import Finished, Started

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from edge_node.engines import (
        Compute,
        Computed,
        Delta,
        Generate,
        Progress,
        Ready,
    )
    from edge_node.kept_prompts import KeptPrompts
    from edge_node.model_store import InstalledRelease
    from edge_node.supervisor import Supervisor


class RunnerLease:
    """One request's hold on one resident release (`edge_node.residents.Lease`)."""

    def __init__(
        self, release: InstalledRelease, supervisor: Supervisor, ready: Ready, kept: KeptPrompts
    ) -> None:
        self.name = release.name
        self.version = release.version
        self.ready = ready
        self.manifest_sha256: str = release.manifest_sha256
        self.space_id = release.space_id
        self.stamp = stamp_of(release, ready)
        self._supervisor = supervisor
        self._kept = kept

    async def generate(
        self, command: Generate
    ) -> AsyncGenerator[Progress | Started | Delta | Finished, None]:
        """Generate, and note what the engine has read; closing the generator early cancels the engine's work."""
        reading = None
        try:
            async with aclosing(self._supervisor.generate(command)) as events:
                async for event in events:
                    if isinstance(event, Started):
                        reading = self._kept.read(command, event)
                    elif isinstance(event, Finished) and reading is not None:
                        self._kept.finished(reading, event)
                    yield event
        finally:
            if reading is not None:
                self._kept.left(reading)

    async def back(self, within_s: float) -> bool:
        """Whether an engine answers within that time, after one has died."""
        return await self._supervisor.back(within_s)

    async def compute(self, command: Compute) -> Computed:
        """Vectors, scores or tensors."""
        return await self._supervisor.compute(command)


def stamp_of(release: InstalledRelease, ready: Ready) -> str:
    """What an answer depends on besides the request: the bytes of the model, and how the engine computes."""
    # Files of two variants may have the same names.
    return f"{release.manifest_sha256} {release.variant} {' '.join(release.files)} {ready.fingerprint}"
