"""What a node says of its own health in `/readyz`."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from origin.api import ModelReport

TrustState = Literal["verified", "expired", "refused", "no_root", "unknown"]


class TrustStatus(Struct, frozen=True, kw_only=True):
    """What the node knows of the signed metadata; it installs while this is `verified`, and serves in any case.

    Attributes:
        age_s: time since they were last verified; None when they never were since the start.
        expires_in_s: until the last verified ones expire; negative after that.
        problem: why the last look failed; "" when it did not.
    """

    state: TrustState = "unknown"
    age_s: float | None = None
    expires_in_s: float | None = None
    problem: str = ""


class EnrolmentStatus(Struct, frozen=True, kw_only=True):
    """The node's membership of a fleet.

    Attributes:
        not_after_unix_s: when its certificate ends.
        problem: why the last renewal failed; "" when it did not.
    """

    fleet: str
    not_after_unix_s: float
    problem: str = ""


class ClientKeysStatus(Struct, frozen=True, kw_only=True):
    """What the node knows of client keys, where it asks for them.

    Attributes:
        checked: keys can be checked; while they cannot, nobody is let in.
        age_s: time since the list was last verified; None when it never was.
        problem: why nobody is let in, or why the last look for a new list failed; "" when all is well.
    """

    checked: bool
    keys_count: int
    age_s: float | None
    problem: str = ""


class NodeStatus(Struct, frozen=True, kw_only=True):
    """The state of a node at one moment.

    Attributes:
        models: every wanted release, as in the heartbeats.
        origin_age_s: time since the origin last answered; None when it never has.
        enrolment: None for a node that never joined a fleet.
        client_keys: None for a node that asks for no keys.
    """

    draining: bool
    models: tuple[ModelReport, ...]
    origin_up: bool
    origin_age_s: float | None
    channel: str = "stable"
    trust: TrustStatus = TrustStatus()
    enrolment: EnrolmentStatus | None = None
    client_keys: ClientKeysStatus | None = None

    @property
    def ready(self) -> bool:
        """Whether requests sent here are answered: not draining, keys can be checked, and some model is ready."""
        if self.client_keys is not None and not self.client_keys.checked:
            return False
        return not self.draining and any(model.state in {"asleep", "ready"} for model in self.models)


class Readiness(Struct, frozen=True, kw_only=True):
    """The body of `/readyz`."""

    ready: bool
    node_id: str
    draining: bool
    channel: str
    origin_up: bool
    origin_age_s: float | None
    trust: TrustStatus
    enrolment: EnrolmentStatus | None
    client_keys: ClientKeysStatus | None
    models: tuple[ModelReport, ...]
