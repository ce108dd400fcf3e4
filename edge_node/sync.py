"""Sync: makes this node's disk and engines what the origin wants, step by step, and keeps what serves.

The thinking is in `reconcile.plan`; here its steps are carried out, each as a task of its own, and the plan is
made anew whenever something has changed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from edge_node.arrivals import Arrival
from edge_node.install import install, verify_whole
from edge_node.model_store import Remembered
from edge_node.reconcile import Situation, plan, served_after
from edge_node.setbacks import Setbacks
from registry.errors import ArtifactError, DiskFullError, EdgewardError, InputInvalidError
from registry.works import first_of

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine
    from pathlib import Path

    from edge_node.install import ReleaseSource
    from edge_node.model_store import InstalledRelease, ModelStore
    from edge_node.peers import Exchange
    from edge_node.reconcile import Plan, ReleaseKey
    from edge_node.runner import Runner
    from edge_node.supervisor import Clock
    from edge_node.telemetry import Metrics
    from edge_node.trust import Admitting
    from origin.api import Directive, ModelReport, WantedRelease
    from registry.fetch.neighbours import Neighbours
    from registry.progress import Progress

log = structlog.get_logger()

_FETCHES_COUNT = 2
_LOADS_COUNT = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncLimits:
    """How sync goes about it.

    Attributes:
        fetch_concurrency_count: ranges read at once for one release.
        unwanted_keep_s: how long a model that is no longer wanted stays on the disk.
    """

    fetch_concurrency_count: int = 4
    unwanted_keep_s: float = 3600.0


class Sync:
    """Carries out plans until it is cancelled. All state that must last is in the store."""

    def __init__(
        self,
        *,
        source: ReleaseSource,
        trust: Admitting,
        store: ModelStore,
        runner: Runner,
        metrics: Metrics,
        clock: Clock,
        limits: SyncLimits,
        exchange: Exchange | None = None,
    ) -> None:
        self._source = source
        self._trust = trust
        self._store = store
        self._runner = runner
        self._metrics = metrics
        self._clock = clock
        self._limits = limits
        self._exchange = exchange
        self._remembered = Remembered()
        self._told: tuple[WantedRelease, ...] | None = None
        self._wanted: tuple[WantedRelease, ...] | None = None
        self._present: dict[ReleaseKey, InstalledRelease] = {}
        self._fetching: dict[ReleaseKey, asyncio.Task[None]] = {}
        self._activating: dict[ReleaseKey, asyncio.Task[None]] = {}
        self._progress: dict[ReleaseKey, Arrival] = {}
        self._setbacks = Setbacks()
        self._unwanted_since_s: dict[str, float] = {}
        self._disk_full = False
        self._fetch_turns = asyncio.Semaphore(_FETCHES_COUNT)
        self._load_turns = asyncio.Semaphore(_LOADS_COUNT)
        runner.arrivals = self.arrivals

    def heard(self, directive: Directive) -> None:
        """Take the origin's word; None for `wanted` means that it does not know now."""
        if self._exchange is not None:
            self._exchange.book.heard(directive.peers)
        if directive.wanted is None or directive.wanted == self._told:
            return
        self._told = directive.wanted
        log.info("releases.wanted", releases=[f"{it.name}@{it.version}" for it in directive.wanted])
        before = set(self._wanted or ())
        self._wanted = tuple(it for it in directive.wanted if self._is_storable(it))
        for it in set(self._wanted) - before:
            self._setbacks.forget((it.name, it.version))  # what failed before was something else
        self._runner.changed.set()

    async def restore(self, *, borrowed: bool = False) -> None:
        """Begin to serve what served last; with a directory `borrowed` from another process, change nothing in it."""
        self._remembered = await asyncio.to_thread(self._store.recall)
        self._wanted = self._remembered.wanted
        installed = await asyncio.to_thread(self._store.installed)
        self._present = {(release.name, release.version): release for release in installed}
        if not borrowed:
            await self.step()
            return
        for key in plan(self._situation()).activate:
            self._begin(self._activating, key, self._activate(self._present[key]))
        if self._activating:
            await asyncio.wait(self._activating.values())

    async def run(self) -> None:
        """Carry out plans for ever; whatever is under way is cancelled with it."""
        try:
            while True:
                self._runner.changed.clear()
                look_again_s = await self.step()
                await self._wait(look_again_s)
        finally:
            tasks = (*self._fetching.values(), *self._activating.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def step(self) -> float | None:
        """Make a plan and begin its steps; returns when waiting alone will change the plan."""
        await self._remember()
        todo = plan(self._situation())
        self._disk_full = False
        for key in todo.cancel:
            self._fetching[key].cancel()
        for key in todo.retire:
            self._runner.retire(key)
        for key in todo.activate:
            self._begin(self._activating, key, self._activate(self._present[key]))
        for wanted in todo.fetch:
            self._begin(self._fetching, (wanted.name, wanted.version), self._fetch(wanted))
        await self._clear_up(todo)
        if self._exchange is not None:
            self._exchange.shelf.offer_whole(
                {release.manifest_sha256: release.directory for release in self._present.values()}
            )
        return todo.look_again_s

    def installed(self) -> tuple[InstalledRelease, ...]:
        """Every whole release on the disk."""
        return tuple(self._present.values())

    async def mended(self, release: InstalledRelease, replaced: Collection[str]) -> None:
        """Files of a release were replaced by right ones: an engine that has one of them open is started anew."""
        key = (release.name, release.version)
        if set(replaced) & release.release_paths:
            await self._serve_anew(key, release)
        self._runner.changed.set()

    async def _serve_anew(self, key: ReleaseKey, release: InstalledRelease) -> None:
        """A resident release is loaded once more, out of what is on the disk now."""
        if key in self._runner.resident():
            if key in self._activating:
                await asyncio.wait({self._activating[key]})
            self._begin(self._activating, key, self._reload(release))

    async def _reload(self, release: InstalledRelease) -> None:
        key = (release.name, release.version)
        self._runner.retire(key)
        await self._runner.gone(key)
        await self._activate(release)

    def arrivals(self) -> tuple[Arrival, ...]:
        """Wanted releases that are not in memory yet."""
        if self._wanted is None:
            return ()
        resident = self._runner.resident()
        wanted = [(it.name, it.version) for it in self._wanted]
        return tuple(self._arrival(key) for key in wanted if key not in resident)

    def model_reports(self) -> tuple[ModelReport, ...]:
        """Every release here or on its way, for the heartbeat."""
        reports = {(report.name, report.version): report for report in self._runner.model_reports()}
        for arrival in self.arrivals():
            reports.setdefault((arrival.name, arrival.version), arrival.report())
        for key in self._present:
            reports.setdefault(key, self._arrival(key).report())
        return tuple(reports[key] for key in sorted(reports))

    def _is_storable(self, wanted: WantedRelease) -> bool:
        """Whether name and version can be those of a release: they become paths here."""
        try:
            self._store.path(wanted.name, wanted.version)
        except InputInvalidError as error:
            log.warning(
                "release.refused", name=wanted.name[:80], version=wanted.version[:80], reason=error.message
            )
            return False
        return True

    def _situation(self) -> Situation:
        now_s = self._clock.now_s()
        wanted_names = {it.name for it in self._wanted or ()}
        if self._wanted is not None:
            unwanted = {name for name, _ in self._present} - wanted_names
            self._unwanted_since_s = {name: self._unwanted_since_s.get(name, now_s) for name in unwanted}
            self._setbacks.forget_all_but(
                self._present.keys() | {(it.name, it.version) for it in self._wanted}
            )
        return Situation(
            now_s=now_s,
            wanted=self._wanted,
            present={key: it.manifest_sha256 if it.suits else "" for key, it in self._present.items()},
            resident=self._runner.resident(),
            current=self._runner.current(),
            served=self._remembered.served,
            fetching=frozenset(self._fetching),
            activating=frozenset(self._activating),
            wait_until_s=self._setbacks.until_s(),
            unwanted_since_s=self._unwanted_since_s,
            unwanted_keep_s=self._limits.unwanted_keep_s,
            disk_full=self._disk_full,
        )

    async def _remember(self) -> None:
        """Keep what is wanted and what serves, for the next start without an origin."""
        resident = self._runner.resident()
        serving = {
            name: version
            for name, version in self._runner.current().items()
            if resident.get((name, version)) == "ready"
        }
        known = {name for name, _ in self._present}
        served = served_after(self._remembered.served, serving)
        remembered = Remembered(
            wanted=self._wanted, served={name: served[name] for name in sorted(served) if name in known}
        )
        if remembered != self._remembered:
            self._remembered = remembered
            try:
                await asyncio.to_thread(self._store.remember, remembered)
            except OSError as error:  # a full disk must not stop what serves
                log.warning("memory.failed", reason=str(error))

    def _begin(
        self, tasks: dict[ReleaseKey, asyncio.Task[None]], key: ReleaseKey, work: Coroutine[None, None, None]
    ) -> None:
        def ended(task: asyncio.Task[None]) -> None:
            if tasks.get(key) is task:
                del tasks[key]
            self._runner.changed.set()

        tasks[key] = asyncio.create_task(work, name=f"sync {key[0]}@{key[1]}")
        tasks[key].add_done_callback(ended)

    async def _fetch(self, wanted: WantedRelease) -> None:
        key = (wanted.name, wanted.version)
        try:
            async with self._fetch_turns:
                self._progress[key] = begun = self._begun(key)
                installed = await install(
                    wanted,
                    source=self._source,
                    trust=self._trust,
                    store=self._store,
                    local=self._sources_of_chunks(key),
                    evict=lambda: self._evict(key),
                    progress=lambda progress: self._progressed(key, progress),
                    concurrency_count=self._limits.fetch_concurrency_count,
                    neighbours=self._neighbours(wanted),
                )
        except EdgewardError as error:
            self._failed(key, error)
        except Exception as error:  # a task supervisor: nothing may end the reconciling
            log.exception("release.fetch_broke", release=f"{wanted.name}@{wanted.version}")
            self._failed(key, error)
        else:
            before = self._present.get(key, installed.release)
            self._present[key] = installed.release
            self._setbacks.forget(key)
            if before.variant != installed.release.variant:
                await self._serve_anew(key, installed.release)
            log.info(
                "release.installed",
                release=f"{wanted.name}@{wanted.version}",
                variant=installed.release.variant,
                total_bytes=installed.release.total_bytes,
                fetched_bytes=installed.fetched_bytes,
                duration_s=round(self._clock.now_s() - begun.started_s, 3),
            )
            self._metrics.artifact_pulled(source="origin", pulled_bytes=installed.fetched_bytes)
            self._metrics.artifact_pulled(source="local", pulled_bytes=installed.reused_bytes)
            self._metrics.artifact_pulled(source="peer", pulled_bytes=installed.peer_bytes)
        finally:
            self._progress.pop(key, None)

    def _neighbours(self, wanted: WantedRelease) -> Neighbours | None:
        return None if self._exchange is None else self._exchange.neighbours(wanted.manifest_sha256)

    async def _activate(self, release: InstalledRelease) -> None:
        key = (release.name, release.version)
        try:
            async with self._load_turns:
                ready = await self._runner.activate(release)
            if not ready and self._runner.resident().get(key) == "failed":
                await self._suspect(key)
        except EdgewardError as error:
            self._failed(key, error)
        except Exception as error:  # a task supervisor, as above
            log.exception("release.activation_broke", release=f"{release.name}@{release.version}")
            self._failed(key, error)

    async def _suspect(self, key: ReleaseKey) -> None:
        """A release would not load: if its bytes are damaged, it is dropped, and so fetched again."""
        try:
            await verify_whole(self._store, *key)
        except ArtifactError:
            self._present.pop(key, None)
            self._runner.retire(key)
            await self._runner.gone(key)

    async def _evict(self, key: ReleaseKey) -> None:
        self._runner.retire(key)
        await self._runner.gone(key)
        self._present.pop(key, None)
        await asyncio.to_thread(self._store.remove, *key)

    async def _clear_up(self, todo: Plan) -> None:
        for name, version in todo.remove:
            release = self._present.pop((name, version), None)
            if release is None:
                continue
            await asyncio.to_thread(self._store.remove, name, version)
            log.info("release.removed", release=f"{name}@{version}", freed_bytes=release.total_bytes)
        if self._wanted is not None:
            keep = (
                {(it.name, it.version) for it in self._wanted} - self._present.keys()
            ) | self._fetching.keys()
            await asyncio.to_thread(self._store.discard_partial, keep)

    def _failed(self, key: ReleaseKey, error: Exception) -> None:
        setback = self._setbacks.note(key, error, self._clock.now_s())
        self._disk_full = self._disk_full or isinstance(error, DiskFullError)
        log.warning(
            "release.failed",
            release=f"{key[0]}@{key[1]}",
            detail=setback.detail,
            failures_count=setback.count,
            retry_after_s=setback.pause_s,
        )

    def _sources_of_chunks(self, key: ReleaseKey) -> list[Path]:
        """Other releases on the disk, those of the same model first, the latest of them first."""
        others = [release for other, release in self._present.items() if other != key]
        others.sort(key=lambda release: (release.name != key[0], -release.created_unix_s))
        return [release.directory for release in others]

    def _progressed(self, key: ReleaseKey, progress: Progress) -> None:
        """Called from any thread; one assignment."""
        known = self._progress.get(key)
        if known is not None:
            self._progress[key] = replace(
                known, done_bytes=progress.done_bytes, total_bytes=progress.total_bytes
            )

    def _begun(self, key: ReleaseKey) -> Arrival:
        return Arrival(name=key[0], version=key[1], state="fetching", started_s=self._clock.now_s())

    def _arrival(self, key: ReleaseKey) -> Arrival:
        setback = self._setbacks.of(key)
        if setback is not None and key not in self._progress:
            return replace(self._begun(key), state="failed", detail=setback.detail)
        if key in self._present:
            return replace(self._begun(key), state="on_disk")
        return self._progress.get(key) or self._begun(key)

    async def _wait(self, look_again_s: float | None) -> None:
        """Until something changes, or until a time."""
        pause_s = None if look_again_s is None else max(0.0, look_again_s - self._clock.now_s())
        await first_of(self._runner.changed, None if pause_s is None else self._clock.sleep(pause_s))
