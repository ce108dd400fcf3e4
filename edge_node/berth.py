"""A berth: one release's place in the runner, with its engine while it is awake, and whoever holds it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge_node.errors import ModelNotReadyError
from edge_node.kept_prompts import KeptPrompts
from edge_node.residency import Occupant, Prospect, faded
from edge_node.residents import ReadyModel
from origin.api import ModelReport

if TYPE_CHECKING:
    from edge_node.engines import Ready
    from edge_node.model_store import InstalledRelease
    from edge_node.reconcile import ReleaseKey, ResidentState
    from edge_node.supervisor import Supervisor

_LOAD_GUESS_S = 5.0
_PROCESS_BYTES = 160 << 20
"""What an engine takes beside its model and the context: the interpreter, the runtime, buffers."""


def estimated_bytes(release: InstalledRelease) -> int:
    """The memory that an engine of this release will take, until it has been measured."""
    return (release.memory_bytes or release.variant_bytes or release.total_bytes) + _PROCESS_BYTES


@dataclass(eq=False, slots=True)
class Berth:
    """One release that may be loaded, is, or is on its way out.

    Attributes:
        supervisor: keeps its engine; None while the release sleeps: on the disk, loaded when somebody asks.
        ready: what its engine said last, also while it sleeps.
        kept: what its engine has read and keeps; made with the release's name.
        prefill_tokens_per_s: measured when it was warmed last.
        leases_count: requests that hold it.
        waiters_count: requests that wait for it to be loaded.
        gives_way: it takes no new requests, because another release needs the memory.
        recent_count: how many requests came in the time of a turn, as of `recent_at_s`.
        announced: its coming into service has been logged.
        moved: set whenever a request that waits for the release should look again.
    """

    release: InstalledRelease
    memory_bytes: int
    supervisor: Supervisor | None = None
    ready: Ready | None = None
    kept: KeptPrompts = field(init=False)
    prefill_tokens_per_s: float | None = None
    leases_count: int = 0
    waiters_count: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    retirement: asyncio.Task[None] | None = None
    waking: asyncio.Task[None] | None = None
    closing: bool = False
    announced: bool = False
    gives_way: bool = False
    used_at_s: float = 0.0
    recent_count: float = 0.0
    recent_at_s: float = 0.0
    loaded_at_s: float = 0.0

    def __post_init__(self) -> None:
        """Nothing has been read yet."""
        self.kept = KeptPrompts(self.release.name)

    @property
    def key(self) -> ReleaseKey:
        """Its name and version."""
        return self.release.name, self.release.version

    @property
    def label(self) -> str:
        """The same, as `name@version`."""
        return f"{self.release.name}@{self.release.version}"

    @property
    def state(self) -> ResidentState:
        """How it is, for plans and reports."""
        if self.retirement is not None:
            return "retiring"
        if self.supervisor is None:
            return "asleep"
        return "retiring" if self.supervisor.state == "closed" else self.supervisor.state

    @property
    def open(self) -> bool:
        """Whether a new request may hold it."""
        return self.state == "ready" and not self.gives_way

    def occupant(self) -> Occupant | None:
        """What it takes of the memory; None while it takes none: it sleeps, or could not be loaded.

        A release that could not be loaded is tried again beside what serves, rarely: unloading what serves for each
        try would be worse.
        """
        if self.supervisor is None or self.state == "failed":
            return None
        return Occupant(
            key=self.key,
            memory_bytes=self.memory_bytes,
            # Whoever waits for its load has the first right to it; whoever came after its turn has not.
            holders_count=self.leases_count + (0 if self.gives_way else self.waiters_count),
            used_at_s=self.used_at_s,
            loaded_at_s=self.loaded_at_s,
            movable=self.state == "ready",
            recent_count=self.recent_count,
            recent_at_s=self.recent_at_s,
        )

    def take(self, now_s: float) -> None:
        """A request holds it from now on."""
        self.leases_count += 1
        self.used_at_s = now_s
        self.recent_count = faded(self.recent_count, now_s - self.recent_at_s) + 1
        self.recent_at_s = now_s
        self.idle.clear()

    def give_back(self, now_s: float) -> None:
        """A request holds it no more."""
        self.leases_count -= 1
        self.used_at_s = now_s
        if self.leases_count == 0:
            self.idle.set()

    def move(self) -> None:
        """Let every request that waits for it look again."""
        self.moved.set()
        self.moved = asyncio.Event()

    def learn(self) -> None:
        """Note what its engine said and what it takes, once it is ready."""
        supervisor = self.supervisor
        if supervisor is None or supervisor.state != "ready":
            return
        if self.ready is not supervisor.ready:  # another process, which has read nothing
            self.kept.forget()
        self.ready = supervisor.ready
        self.prefill_tokens_per_s = supervisor.prefill_tokens_per_s
        self._weigh(supervisor)

    def weigh(self) -> None:
        """Note what its engine holds by now, before it is decided who may stay."""
        if self.supervisor is not None and self.state == "ready":
            self.supervisor.measure()
            self._weigh(self.supervisor)

    def _weigh(self, supervisor: Supervisor) -> None:
        # Never below the estimate: an engine's memory grows with its first long prompts.
        self.memory_bytes = max(self.memory_bytes, supervisor.memory_bytes)

    def unready(self) -> ModelNotReadyError:
        """Why it does not answer now; details may name paths of this machine, and are in `report` for operators."""
        if self.supervisor is None or self.gives_way:
            return ModelNotReadyError(
                f"{self.label} is on this node's disk and waits for memory to be loaded into",
                param="model",
                retry_after_s=max(1.0, self.load_left_s()),
                state="asleep",
            )
        doing = "could not be loaded, and is tried again" if self.state == "failed" else "is being loaded"
        return ModelNotReadyError(
            f"{self.label} {doing}",
            param="model",
            retry_after_s=self.supervisor.retry_after_s(),
            state=self.state,
        )

    def load_left_s(self) -> float:
        """How long its load takes, or what is left of it, from when there is room."""
        if self.supervisor is None or self.gives_way:
            return self.ready.load_s if self.ready else _LOAD_GUESS_S
        return self.supervisor.load_left_s()

    def ready_model(self) -> ReadyModel:
        """What it can do for whoever asks; also one that would first be loaded."""
        ready = self.ready
        return ReadyModel(
            name=self.release.name,
            version=self.release.version,
            abilities=ready.abilities if ready else (),
            slots=ready.slots if ready else 0,
            context_tokens=ready.context_tokens if ready else 0,
            created_unix_s=self.release.created_unix_s,
            asleep=self.state == "asleep",
            prefixes_unusable_count=ready.prefixes_unusable if ready else 0,
        )

    def report(self, prospect: Prospect) -> ModelReport:
        """Its state for the heartbeat, with the prospect of room; how busy it is, is the scheduler's to add.

        One that gives way is as good as asleep to whoever comes now.
        """
        state = "asleep" if self.gives_way and self.state == "ready" else self.state
        supervisor = self.supervisor
        return ModelReport(
            name=self.release.name,
            version=self.release.version,
            state="loading" if state == "retiring" else state,
            slots=self.ready.slots if self.ready and state in {"ready", "asleep"} else 0,
            prefill_tokens_per_s=self.prefill_tokens_per_s,
            load_s=self.ready.load_s if self.ready else None,
            room_s=prospect.room_s if state == "asleep" else 0.0,
            displaced_count=prospect.displaced_count if state == "asleep" else 0.0,
            detail=supervisor.detail if supervisor else "",
            variant=self.release.variant,
            space_id=self.release.space_id,
            prefixes=self.kept.sketch() if state == "ready" else b"",
        )
