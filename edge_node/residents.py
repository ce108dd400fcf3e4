"""The seam between the node's front and its engines: what is ready, and how a request borrows it.

`edge_node.runner.Runner` implements `Residents`; `answer` and `web` know nothing else of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from edge_node.engines import (
        Compute,
        Computed,
        Delta,
        Finished,
        Generate,
        Progress,
        Ready,
        Started,
    )


@dataclass(frozen=True, kw_only=True)
class ReadyModel:
    """One release that answers now.

    Attributes:
        abilities: of `chat`, `completion`, `embedding`, `rerank`, `classification`, `tensors`.
        slots: requests that its engine works on at once.
        created_unix_s: when the release was published.
        prefixes_unusable_count: prefixes of the release that were made for another engine or CPU.
        asleep: it is on the disk only, and is loaded for whoever asks; what it can do may not be known yet.
    """

    name: str
    version: str
    abilities: tuple[str, ...]
    slots: int
    context_tokens: int
    created_unix_s: int
    asleep: bool = False
    prefixes_unusable_count: int = 0


class Lease(Protocol):
    """One request's hold on one resident release: it stays loaded until the lease is left."""

    @property
    def name(self) -> str:
        """The model's name."""

    @property
    def version(self) -> str:
        """The release's version."""

    @property
    def ready(self) -> Ready:
        """What the engine said when it had loaded the release."""

    @property
    def manifest_sha256(self) -> str:
        """The digest of the release's manifest."""

    @property
    def space_id(self) -> str:
        """The space that its vectors are in; "" where nobody said."""

    @property
    def stamp(self) -> str:
        """A name for all that answers depend on beside the request: the release's bytes, the engine's settings."""

    def generate(self, command: Generate) -> AsyncIterator[Progress | Started | Delta | Finished]:
        """Generate; closing the iterator early cancels the engine's work, also before `Started`.

        Raises:
            RequestInvalidError: the engine refuses this request.
            PromptTooLongError: the prompt does not fit the context.
            EngineDiedError: the engine's process died.
            EngineFailedError: the engine broke, or was closed.
        """

    async def back(self, within_s: float) -> bool:
        """Whether an engine answers within that time, after one has died."""

    async def compute(self, command: Compute) -> Computed:
        """Vectors, scores or tensors; cancelling the call cancels the engine's work.

        Raises:
            RequestInvalidError: the engine refuses this request.
            PromptTooLongError: an input does not fit the context.
            EngineFailedError: the engine's process died.
        """


class Residents(Protocol):
    """All releases that this node holds ready."""

    def lease(self, model: str) -> AbstractAsyncContextManager[Lease]:
        """Hold the release that `model` (`chat`, `chat:channel` or `chat@version`) means now.

        Raises, on entering:
            ModelNotHereError: this node does not serve it.
            ModelNotReadyError: it is being fetched or loaded.
            DrainingError: the node is stopping.
        """

    def load_left_s(self, model: str) -> float:
        """How long the release that `model` means would still be loaded for; 0 when it answers, or never will."""

    def stamp(self, model: str) -> str | None:
        """The stamp of the release that `model` means now; None while none answers, for whatever reason."""

    def ready_models(self) -> tuple[ReadyModel, ...]:
        """The releases that answer now, newest version of each name last."""
