"""Runner: the releases that this node holds in memory, each behind a supervised engine, and who borrows them.

A new release of a model is loaded beside the old one; when it is ready, new requests go to it, and the old
one is closed when its last request has ended.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from edge_node.blame import Blame
from edge_node.engines import EngineSpec
from edge_node.errors import DrainingError, ModelNotHereError, ModelNotReadyError, RequestInvalidError
from edge_node.residents import ReadyModel
from edge_node.supervisor import Supervisor
from origin.api import ModelReport
from registry.errors import FormatInvalidError, InputInvalidError
from registry.reference import parse_reference

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from edge_node.arrivals import Arrival
    from edge_node.engines import (
        Batching,
        Compute,
        Computed,
        Delta,
        Embed,
        Embedded,
        EngineKind,
        Finished,
        Generate,
        Ready,
        Started,
    )  # fmt: skip
    from edge_node.model_store import InstalledRelease
    from edge_node.reconcile import ReleaseKey, ResidentState
    from edge_node.supervisor import Clock, Engine
    from registry.reference import Reference

log = structlog.get_logger()

_ENGINES: Mapping[str, EngineKind] = {"gguf": "llama", "onnx": "onnx"}
_CLOSE_GRACE_S = 5.0


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
        onnx_providers: ONNX Runtime's execution providers, in order; empty takes the CPU.
        onnx_batching: which requests of ONNX models are computed together.
        onnx_keeps_arena: whether ONNX Runtime keeps the memory of its largest run.
    """

    threads_count: int = 1
    context_tokens: int = 0
    swap_grace_s: float = 300.0
    onnx_providers: tuple[str, ...] = ()
    onnx_batching: Batching = "exact"
    onnx_keeps_arena: bool = True


@dataclass(eq=False, slots=True)
class _Resident:
    release: InstalledRelease
    supervisor: Supervisor
    leases_count: int = 0
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    retirement: asyncio.Task[None] | None = None
    closing: bool = False
    announced: bool = False

    @property
    def state(self) -> ResidentState:
        if self.retirement is not None or self.supervisor.state == "closed":
            return "retiring"
        return self.supervisor.state


class RunnerLease:
    """One request's hold on one resident release (`edge_node.residents.Lease`)."""

    def __init__(self, release: InstalledRelease, supervisor: Supervisor, ready: Ready) -> None:
        self.name = release.name
        self.version = release.version
        self.ready = ready
        self._supervisor = supervisor

    def generate(self, command: Generate) -> AsyncGenerator[Started | Delta | Finished, None]:
        """Generate; closing the generator early cancels the engine's work."""
        return self._supervisor.generate(command)

    async def embed(self, command: Embed) -> Embedded:
        """Embed each input."""
        return await self._supervisor.embed(command)

    async def compute(self, command: Compute) -> Computed:
        """Vectors, scores or tensors."""
        return await self._supervisor.compute(command)


class Runner:
    """Resident engines by release (`edge_node.residents.Residents`).

    Attributes:
        changed: set whenever a state or the current version of a model changes; whoever waits clears it.
        arrivals: gives the releases on their way here, as `sync` knows them, to tell requests how long it takes.
    """

    def __init__(
        self, *, build: Callable[[EngineSpec], Engine], clock: Clock, channel: str, limits: RunnerLimits
    ) -> None:
        self.changed = asyncio.Event()
        self.arrivals: Callable[[], tuple[Arrival, ...]] = tuple
        self._build = build
        self._clock = clock
        self._channel = channel
        self._limits = limits
        self._blame = Blame()
        self._residents: dict[ReleaseKey, _Resident] = {}
        self._current: dict[str, str] = {}
        self._goal: dict[str, str] = {}
        self._draining = False

    async def activate(self, release: InstalledRelease) -> bool:
        """Load a release and let new requests have it; returns whether the first attempt made it ready.

        A release that fails to load is tried again, ever more slowly, until it is retired; what served before
        goes on serving.

        Raises:
            FormatInvalidError: no engine can serve this kind.
        """
        key = (release.name, release.version)
        spec = self._spec(release)
        resident = self._residents.get(key)
        if resident is not None and resident.closing:
            await self._gone(resident)
            resident = None
        self._goal[release.name] = release.version
        if resident is None:
            resident = _Resident(release, self._supervisor(spec))
            self._residents[key] = resident
            self._current.setdefault(release.name, release.version)
            resident.supervisor.start()
            self.changed.set()
        elif resident.retirement is not None:  # wanted back before it was gone
            resident.retirement.cancel()
            resident.retirement = None
            resident.announced = False
        await resident.supervisor.decided.wait()
        self._switch(resident)
        return resident.state == "ready"

    def retire(self, key: ReleaseKey) -> None:
        """Take a release out of service; it is closed when its last request has ended. Returns at once."""
        resident = self._residents.get(key)
        if resident is None or resident.retirement is not None:
            return
        name, version = key
        if self._current.get(name) == version:
            del self._current[name]
        if self._goal.get(name) == version:
            del self._goal[name]
        if resident.leases_count == 0:
            resident.idle.set()
        resident.retirement = asyncio.create_task(self._retire(resident), name=f"retire {name}@{version}")
        self.changed.set()

    async def gone(self, key: ReleaseKey) -> None:
        """Wait until a retired release has been closed."""
        resident = self._residents.get(key)
        if resident is not None:
            await self._gone(resident)

    @asynccontextmanager
    async def lease(self, model: str) -> AsyncIterator[RunnerLease]:
        """Hold the release that `model` means now.

        Raises:
            RequestInvalidError: not a model's name.
            ModelNotHereError: this node does not serve it.
            ModelNotReadyError: it is being fetched or loaded.
            DrainingError: the node is stopping.
        """
        if self._draining:
            raise DrainingError("this node is stopping and takes no new requests: ask another one")
        resident, ready = self._ready(model)
        resident.leases_count += 1
        resident.idle.clear()
        try:
            yield RunnerLease(resident.release, resident.supervisor, ready)
        finally:
            resident.leases_count -= 1
            if resident.leases_count == 0:
                resident.idle.set()

    def ready_models(self) -> tuple[ReadyModel, ...]:
        """The releases that answer now, the current version of each name last."""
        return tuple(
            ReadyModel(
                name=resident.release.name,
                version=resident.release.version,
                abilities=ready.abilities,
                slots=ready.slots,
                context_tokens=ready.context_tokens,
                created_unix_s=resident.release.created_unix_s,
            )
            for key in sorted(
                self._residents, key=lambda key: (key[0], self._current.get(key[0]) == key[1], key)
            )
            if (resident := self._residents[key]).state == "ready" and (ready := resident.supervisor.ready)
        )

    def model_reports(self) -> tuple[ModelReport, ...]:
        """The state of every release in memory; how busy each is, is the scheduler's to add."""
        return tuple(
            _report(resident)
            for _, resident in sorted(self._residents.items())
            if resident.retirement is None
        )

    def resident(self) -> dict[ReleaseKey, ResidentState]:
        """What is in memory, and how each release is."""
        return {key: resident.state for key, resident in self._residents.items()}

    def current(self) -> dict[str, str]:
        """For each model the version that new requests get."""
        return dict(self._current)

    @property
    def draining(self) -> bool:
        """Whether new requests are refused."""
        return self._draining

    def drain(self) -> None:
        """Refuse new requests from now on; running ones go on."""
        self._draining = True

    async def idle(self) -> None:
        """Wait until no request holds a release."""
        for resident in tuple(self._residents.values()):
            while resident.leases_count:
                await resident.idle.wait()

    async def close(self, grace_s: float = _CLOSE_GRACE_S) -> None:
        """End all engines; requests still running get EngineFailedError."""
        self._draining = True
        for resident in self._residents.values():
            if resident.retirement is not None and not resident.closing:
                resident.retirement.cancel()
        await asyncio.gather(*(resident.supervisor.close(grace_s) for resident in self._residents.values()))
        self._residents.clear()
        self._current.clear()

    def _spec(self, release: InstalledRelease) -> EngineSpec:
        return EngineSpec(
            kind=engine_kind(f"{release.name}@{release.version}", release.kind),
            name=release.name,
            version=release.version,
            model_dir=str(release.files_dir),
            files=release.files,
            threads_count=self._limits.threads_count,
            context_tokens=self._limits.context_tokens,
            providers=self._limits.onnx_providers,
            batching=self._limits.onnx_batching,
            keeps_arena=self._limits.onnx_keeps_arena,
        )

    def _supervisor(self, spec: EngineSpec) -> Supervisor:
        return Supervisor(
            spec, build=self._build, blame=self._blame, clock=self._clock, changed=self._supervisor_changed
        )

    def _supervisor_changed(self, supervisor: Supervisor) -> None:
        resident = self._residents.get((supervisor.spec.name, supervisor.spec.version))
        if resident is not None and resident.supervisor is supervisor:
            self._switch(resident)
        self.changed.set()

    def _switch(self, resident: _Resident) -> None:
        """Give new requests a release that has become ready, if it is the one that was asked for last."""
        name, version = resident.release.name, resident.release.version
        if resident.state != "ready" or self._goal.get(name) != version:
            return
        replaced = self._current.get(name)
        self._current[name] = version
        for key in [key for key in self._residents if key[0] == name and key[1] != version]:
            self.retire(key)
        if not resident.announced:
            resident.announced = True
            ready = resident.supervisor.ready
            log.info(
                "release.activated",
                release=f"{name}@{version}",
                replaced=replaced if replaced != version else None,
                load_s=round(ready.load_s, 3) if ready else None,
                prefill_tokens_per_s=resident.supervisor.prefill_tokens_per_s,
            )
        self.changed.set()

    async def _retire(self, resident: _Resident) -> None:
        release = f"{resident.release.name}@{resident.release.version}"
        try:
            async with asyncio.timeout(self._limits.swap_grace_s):
                await resident.idle.wait()
        except TimeoutError:
            log.warning("release.cut_off", release=release, leases_count=resident.leases_count)
        resident.closing = True
        await resident.supervisor.close(_CLOSE_GRACE_S)
        key = (resident.release.name, resident.release.version)
        if self._residents.get(key) is resident:
            del self._residents[key]
        log.info("release.retired", release=release)
        self.changed.set()

    @staticmethod
    async def _gone(resident: _Resident) -> None:
        if resident.retirement is not None:
            await asyncio.wait([resident.retirement])

    def _ready(self, model: str) -> tuple[_Resident, Ready]:
        try:
            reference = parse_reference(model)
        except InputInvalidError as error:
            raise RequestInvalidError(error.message, param="model") from error
        # A bare name means whatever this node serves, on any channel.
        if ":" in model and reference.channel != self._channel:
            raise ModelNotHereError(
                f"this node takes its models from the channel {self._channel!r}, not {reference.channel!r}",
                param="model",
            )
        version = reference.version or self._current.get(reference.name)
        resident = self._residents.get((reference.name, version)) if version else None
        if resident is not None and resident.state == "ready" and resident.supervisor.ready:
            return resident, resident.supervisor.ready
        raise self._absence(reference)

    def _absence(self, reference: Reference) -> ModelNotHereError | ModelNotReadyError:
        """Why a model cannot answer now: it is being loaded, is on its way, or is not for this node."""
        version = reference.version or self._goal.get(reference.name)
        resident = self._residents.get((reference.name, version)) if version else None
        if resident is not None and resident.state in {"loading", "failed"}:
            supervisor = resident.supervisor
            # The details may name paths of this machine: operators find them in the reports.
            failed = resident.state == "failed"
            doing = "could not be loaded, and is tried again" if failed else "is being loaded"
            return ModelNotReadyError(
                f"{supervisor.release} {doing}", param="model", retry_after_s=supervisor.retry_after_s()
            )
        for arrival in self.arrivals():
            if arrival.name == reference.name and reference.version in {None, arrival.version}:
                wait_s = arrival.retry_after_s(self._clock.now_s())
                return ModelNotReadyError(arrival.sentence(), param="model", retry_after_s=wait_s)
        here = ", ".join(f"{model.name}@{model.version}" for model in self.ready_models()) or "none yet"
        asked = f"{reference.name}@{reference.version}" if reference.version else reference.name
        return ModelNotHereError(f"this node does not serve {asked}; it serves: {here}", param="model")


def _report(resident: _Resident) -> ModelReport:
    supervisor = resident.supervisor
    ready = supervisor.ready if resident.state == "ready" else None
    return ModelReport(
        name=resident.release.name,
        version=resident.release.version,
        state="ready" if ready else "failed" if resident.state == "failed" else "loading",
        slots=ready.slots if ready else 0,
        prefill_tokens_per_s=supervisor.prefill_tokens_per_s,
        load_s=supervisor.ready.load_s if supervisor.ready else None,
        detail=supervisor.detail,
    )
