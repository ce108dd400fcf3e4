"""Runner: the releases that this node serves, each behind a supervised engine while it is awake, and who borrows them.

A new release of a model is loaded beside the old one; when it is ready, new requests go to it, and the old
one is closed when its last request has ended. When the memory does not hold all releases, some sleep: `wakening`
loads them for the requests that ask for them.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from edge_node.berth import Berth, estimated_bytes
from edge_node.blame import Blame
from edge_node.engine_plan import engine_kind
from edge_node.errors import DrainingError, ModelNotHereError, ModelNotReadyError
from edge_node.meaning import find_meant, read_asked
from edge_node.runner_lease import RunnerLease, stamp_of
from edge_node.supervisor import Supervisor
from edge_node.wakening import Wakening
from registry.errors import EdgewardError
from registry.works import first_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from edge_node.arrivals import Arrival
    from edge_node.engine_plan import Measured, RunnerLimits
    from edge_node.engines import Ready
    from edge_node.engines.spec import EngineSpec
    from edge_node.model_store import InstalledRelease
    from edge_node.reconcile import ReleaseKey, ResidentState
    from edge_node.residents import ReadyModel
    from edge_node.supervisor import Clock, Engine
    from origin.api import ModelReport
    from registry.reference import Reference

log = structlog.get_logger()

_CLOSE_GRACE_S = 5.0


class Runner:
    """Resident engines by release (`edge_node.residents.Residents`).

    Attributes:
        changed: set whenever a state or the current version of a model changes; whoever waits clears it.
        measured: told how fast a model writes when it has been loaded.
        arrivals: gives the releases on their way here, as `sync` knows them, to tell requests how long it takes.
    """

    def __init__(
        self, *, build: Callable[[EngineSpec], Engine], clock: Clock, channel: str, limits: RunnerLimits
    ) -> None:
        self.changed = asyncio.Event()
        self.arrivals: Callable[[], tuple[Arrival, ...]] = tuple
        self.measured: Measured | None = None
        self._build = build
        self._clock = clock
        self._channel = channel
        self._limits = limits
        self._blame = Blame()
        self._berths: dict[ReleaseKey, Berth] = {}
        self._current: dict[str, str] = {}
        self._goal: dict[str, str] = {}
        self._mark_salt = b""
        self._draining = False
        self._waiting_count = 0
        self._wakening = Wakening(
            berths=self._berths,
            supervise=self._supervisor,
            clock=clock,
            limit_bytes=limits.memory_limit_bytes,
        )

    async def activate(self, release: InstalledRelease) -> bool:
        """Load a release and let new requests have it; returns whether the first attempt made it ready.

        A release that fails to load is tried again, ever more slowly, until it is retired; what served before
        goes on serving. A release that finds no room in memory sleeps until somebody asks for it, unless it
        follows one that is awake: then that one goes first, when its answers are done.

        Raises:
            FormatInvalidError: no engine can serve this kind.
        """
        key = (release.name, release.version)
        engine_kind(f"{release.name}@{release.version}", release.kind)
        berth = self._berths.get(key)
        if berth is not None and berth.closing:
            await self._gone(berth)
            berth = None
        self._goal[release.name] = release.version
        if berth is None:
            berth = self._berths[key] = Berth(release, estimated_bytes(release))
            berth.kept.salt_with(self._mark_salt)
            self._current.setdefault(release.name, release.version)
        elif berth.retirement is not None:  # wanted back before it was gone
            berth.retirement.cancel()
            berth.retirement = None
            berth.announced = False
        self.changed.set()
        if berth.supervisor is None:
            await self._bring_in(berth)
        else:
            await berth.supervisor.decided.wait()
        self._switch(berth)
        return berth.state == "ready"

    def retire(self, key: ReleaseKey) -> None:
        """Take a release out of service; it is closed when its last request has ended. Returns at once."""
        berth = self._berths.get(key)
        if berth is None or berth.retirement is not None:
            return
        name, version = key
        if self._current.get(name) == version:
            del self._current[name]
        if self._goal.get(name) == version:
            del self._goal[name]
        if berth.leases_count == 0:
            berth.idle.set()
        berth.retirement = asyncio.create_task(self._retire(berth), name=f"retire {name}@{version}")
        berth.move()
        self._wakening.freed()
        self.changed.set()

    async def gone(self, key: ReleaseKey) -> None:
        """Wait until a retired release has been closed."""
        berth = self._berths.get(key)
        if berth is not None:
            await self._gone(berth)

    @asynccontextmanager
    async def lease(self, model: str) -> AsyncIterator[RunnerLease]:
        """Hold the release that `model` means now, after loading it if it sleeps.

        Raises:
            RequestInvalidError: not a model's name.
            ModelNotHereError: this node does not serve it.
            SpaceMismatchError: it gives vectors of another space.
            ModelNotReadyError: it is being fetched or loaded, and that takes longer than requests wait.
            DrainingError: the node is stopping.
        """
        berth, supervisor, ready = await self._awake(read_asked(model, self._channel))
        berth.take(self._clock.now_s())
        try:
            yield RunnerLease(berth.release, supervisor, ready, berth.kept)
        finally:
            berth.give_back(self._clock.now_s())
            self._wakening.freed()

    def load_left_s(self, model: str) -> float:
        """How long the release that `model` means would still be loaded for; 0 when it answers, or never will."""
        try:
            berth = self._meant(read_asked(model, self._channel))
        except EdgewardError:
            return 0.0
        if berth is None or berth.open or berth.state in {"failed", "retiring"}:
            return 0.0
        return self._wakening.prospect(berth).room_s + berth.load_left_s()

    def stamp(self, model: str) -> str | None:
        """The stamp of the release that `model` means now; None while none answers, for whatever reason."""
        if self._draining:
            return None
        try:
            berth = self._meant(read_asked(model, self._channel))
        except EdgewardError:
            return None
        # One that sleeps would answer the same after waking: what is kept of it is good.
        if berth is None or berth.ready is None or berth.state not in {"ready", "asleep"}:
            return None
        return stamp_of(berth.release, berth.ready)

    def ready_models(self) -> tuple[ReadyModel, ...]:
        """The releases that answer, also those that would first be loaded; the current one of each name last."""
        keys = sorted(self._berths, key=lambda key: (key[0], self._current.get(key[0]) == key[1], key))
        return tuple(
            berth.ready_model()
            for berth in map(self._berths.__getitem__, keys)
            if berth.state in {"ready", "asleep"}
        )

    def model_reports(self) -> tuple[ModelReport, ...]:
        """The state of every release in service; how busy each is, is the scheduler's to add."""
        return tuple(
            berth.report(self._wakening.prospect(berth))
            for _, berth in sorted(self._berths.items())
            if berth.retirement is None
        )

    def salt_marks(self, salt: bytes) -> None:
        """Tell of kept prompts by marks with the fleet's salt; what was marked with another is forgotten."""
        self._mark_salt = salt
        for berth in self._berths.values():
            berth.kept.salt_with(salt)

    def resident(self) -> dict[ReleaseKey, ResidentState]:
        """What is in service, and how each release is."""
        return {key: berth.state for key, berth in self._berths.items()}

    def current(self) -> dict[str, str]:
        """For each model the version that new requests get."""
        return dict(self._current)

    @property
    def draining(self) -> bool:
        """Whether new requests are refused."""
        return self._draining

    def drain(self) -> None:
        """Refuse new requests from now on, also those that wait for a load; running ones go on."""
        self._draining = True
        for berth in self._berths.values():
            berth.move()

    async def idle(self) -> None:
        """Wait until no request holds a release."""
        for berth in tuple(self._berths.values()):
            while berth.leases_count:
                await berth.idle.wait()

    async def close(self, grace_s: float = _CLOSE_GRACE_S) -> None:
        """End all engines; requests still running get EngineFailedError."""
        self.drain()
        await self._wakening.close()
        for berth in self._berths.values():
            if berth.retirement is not None and not berth.closing:
                berth.retirement.cancel()
        awake = [berth.supervisor for berth in self._berths.values() if berth.supervisor is not None]
        await asyncio.gather(*(supervisor.close(grace_s) for supervisor in awake))
        self._berths.clear()
        self._current.clear()

    # ---- in and out of memory

    async def _bring_in(self, berth: Berth) -> None:
        """Load a release that has just come into service, if that is worth what it displaces."""
        name, version = berth.key
        replaced = self._berths.get((name, self._current.get(name, "")))
        if replaced is berth or (replaced is not None and replaced.supervisor is None):
            replaced = None
        beside = self._wakening.fits_beside(berth)
        if not beside and replaced is None:
            log.info("release.slept", release=berth.label, wanted=None, freed_bytes=0)
            return
        if not beside:
            log.info("release.swapped_in_turn", release=berth.label, replaced=replaced and replaced.label)
            self._current[name] = version  # who asks meanwhile waits for the new one
        await asyncio.wait([self._wakening.wake(berth, replaced=replaced)])
        if berth.state == "failed" and replaced is not None and self._berths.get(replaced.key) is replaced:
            self._current[name] = replaced.key[1]
            replaced.gives_way = False
            if replaced.supervisor is None:
                self._wakening.wake(replaced)

    def _tell_speed(self, berth: Berth) -> None:
        release = berth.release
        tokens_per_s = berth.supervisor.decode_tokens_per_s if berth.supervisor else None
        if self.measured is not None and tokens_per_s is not None:
            self.measured(
                release.quantization, weights_bytes=release.variant_bytes, tokens_per_s=tokens_per_s
            )

    def _supervisor(self, berth: Berth) -> Supervisor:
        spec = self._limits.spec(berth.release)
        return Supervisor(
            spec, build=self._build, blame=self._blame, clock=self._clock, changed=self._supervisor_changed
        )

    def _supervisor_changed(self, supervisor: Supervisor) -> None:
        berth = self._berths.get((supervisor.spec.name, supervisor.spec.version))
        if berth is not None and berth.supervisor is supervisor:
            berth.learn()
            self._switch(berth)
            berth.move()
            self._wakening.freed()
        self.changed.set()

    def _switch(self, berth: Berth) -> None:
        """Give new requests a release that can serve them, if it is the one that was asked for last."""
        name, version = berth.key
        if berth.state not in {"ready", "asleep"} or self._goal.get(name) != version:
            return
        replaced = self._current.get(name)
        self._current[name] = version
        for key in [key for key in self._berths if key[0] == name and key[1] != version]:
            self.retire(key)
        if not berth.announced and berth.state == "ready":
            berth.announced = True
            self._tell_speed(berth)
            log.info(
                "release.activated",
                release=berth.label,
                replaced=replaced if replaced != version else None,
                load_s=round(berth.ready.load_s, 3) if berth.ready else None,
                prefill_tokens_per_s=berth.prefill_tokens_per_s,
            )
        self.changed.set()

    async def _retire(self, berth: Berth) -> None:
        try:
            async with asyncio.timeout(self._limits.swap_grace_s):
                await berth.idle.wait()
        except TimeoutError:
            log.warning("release.cut_off", release=berth.label, leases_count=berth.leases_count)
        berth.closing = True
        if berth.supervisor is not None:
            await berth.supervisor.close(_CLOSE_GRACE_S)
        if self._berths.get(berth.key) is berth:
            del self._berths[berth.key]
        log.info("release.retired", release=berth.label)
        self._wakening.freed()
        self.changed.set()

    @staticmethod
    async def _gone(berth: Berth) -> None:
        if berth.retirement is not None:
            await asyncio.wait([berth.retirement])

    # ---- who asks

    def _meant(self, reference: Reference) -> Berth | None:
        return find_meant(reference, self._berths, self._current)

    async def _awake(self, reference: Reference) -> tuple[Berth, Supervisor, Ready]:
        """The release that is meant, when it answers; it is loaded for this if need be."""
        until_s = self._clock.now_s() + self._limits.load_wait_s
        while True:
            if self._draining:
                raise DrainingError("this node is stopping and takes no new requests: ask another one")
            berth = self._meant(reference)
            if berth is None or berth.state in {"failed", "retiring"}:
                raise self._absence(reference)
            if berth.open and berth.supervisor is not None and berth.supervisor.ready is not None:
                return berth, berth.supervisor, berth.supervisor.ready
            if berth.supervisor is None or berth.gives_way:
                self._wakening.wake(berth)
            left_s = until_s - self._clock.now_s()
            if left_s <= 0 or self._waiting_count >= self._limits.load_wait_limit_count:
                raise self._absence(reference)
            await self._until_moved(berth, left_s)

    async def _until_moved(self, berth: Berth, wait_s: float) -> None:
        self._waiting_count += 1
        berth.waiters_count += 1
        try:
            await first_of(berth.moved, self._clock.sleep(wait_s))
        finally:
            self._waiting_count -= 1
            berth.waiters_count -= 1
            self._wakening.freed()

    def _absence(self, reference: Reference) -> ModelNotHereError | ModelNotReadyError:
        """Why a model cannot answer now: it is being loaded, is on its way, or is not for this node."""
        version = reference.version or self._current.get(reference.name) or self._goal.get(reference.name)
        berth = self._berths.get((reference.name, version)) if version else None
        if berth is not None and berth.state != "retiring":
            return berth.unready()
        for arrival in self.arrivals():
            if arrival.name == reference.name and reference.version in {None, arrival.version}:
                return arrival.not_ready(self._clock.now_s())
        here = ", ".join(f"{model.name}@{model.version}" for model in self.ready_models()) or "none yet"
        asked = f"{reference.name}@{reference.version}" if reference.version else reference.name
        return ModelNotHereError(f"this node does not serve {asked}; it serves: {here}", param="model")
