"""What a node says of its own health in `/readyz`."""

from __future__ import annotations

from msgspec import Struct

from origin.api import ModelReport


class NodeStatus(Struct, frozen=True, kw_only=True):
    """The state of a node at one moment.

    Attributes:
        models: every wanted release, as in the heartbeats.
        origin_age_s: time since the origin last answered; None when it never has.
    """

    draining: bool
    models: tuple[ModelReport, ...]
    origin_up: bool
    origin_age_s: float | None
    channel: str = "stable"

    @property
    def ready(self) -> bool:
        """Whether requests sent here are answered: not draining, and some model is ready."""
        return not self.draining and any(model.state == "ready" for model in self.models)


class Readiness(Struct, frozen=True, kw_only=True):
    """The body of `/readyz`."""

    ready: bool
    node_id: str
    draining: bool
    channel: str
    origin_up: bool
    origin_age_s: float | None
    models: tuple[ModelReport, ...]
