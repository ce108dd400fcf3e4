"""Arrival: a release on its way to this node, how far it is, and when asking for it makes sense again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_node.errors import ModelNotReadyError
from origin.api import ModelReport

_LOAD_GUESS_S = 5.0
_UNKNOWN_S = 10.0
_LONGEST_S = 120.0
_FAILED_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """The state of one release that is not in memory yet; times are monotonic seconds."""

    name: str
    version: str
    state: Literal["on_disk", "fetching", "failed"]
    started_s: float
    done_bytes: int = 0
    total_bytes: int = 0
    detail: str = ""

    def report(self) -> ModelReport:
        """The same for the heartbeat."""
        return ModelReport(
            name=self.name,
            version=self.version,
            state=self.state,
            fetched_bytes=self.done_bytes,
            fetch_total_bytes=self.total_bytes,
            detail=self.detail,
        )

    def sentence(self) -> str:
        """The same for whoever asks for the model; why something failed is for operators, in `report`."""
        release = f"{self.name}@{self.version}"
        if self.state == "failed":
            return f"{release} could not be brought to this node yet; it is tried again"
        if self.state == "on_disk":
            return f"{release} is on this node's disk and about to be loaded"
        if not self.total_bytes:
            return f"{release} is being fetched"
        percent = 100 * self.done_bytes // self.total_bytes
        done_mb, total_mb = self.done_bytes / 1e6, self.total_bytes / 1e6
        return f"{release} is being fetched: {done_mb:.1f} of {total_mb:.1f} MB ({percent} %)"

    def retry_after_s(self, now_s: float) -> float:
        """When it may be ready, judged by the pace so far; between 1 s and 2 minutes."""
        if self.state == "failed":
            return _FAILED_S
        if self.state == "on_disk":
            return _LOAD_GUESS_S
        if not self.done_bytes or now_s <= self.started_s:
            return _UNKNOWN_S
        left_s = (now_s - self.started_s) * (self.total_bytes - self.done_bytes) / self.done_bytes
        return min(_LONGEST_S, max(1.0, left_s) + _LOAD_GUESS_S)

    def not_ready(self, now_s: float) -> ModelNotReadyError:
        """The refusal for whoever asks for it now."""
        return ModelNotReadyError(
            self.sentence(),
            param="model",
            retry_after_s=self.retry_after_s(now_s),
            state=self.state,
            done_bytes=self.done_bytes,
            total_bytes=self.total_bytes,
        )
