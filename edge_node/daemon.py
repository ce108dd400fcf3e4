"""A node: every part put together in one place, its port opened, its end in good order."""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import structlog

from edge_node.api.health import NodeStatus
from edge_node.cache.answers import AnswerCache
from edge_node.client_keys import keys_of
from edge_node.client_rtts import ClientRtts
from edge_node.config import stated_place
from edge_node.cordon import Cordon
from edge_node.engine_plan import runner_limits
from edge_node.enrolment.joining import origin_urls
from edge_node.enrolment.renewal import renewal_of
from edge_node.heartbeat import Heartbeat, with_load
from edge_node.listener import BYE_S, Listener
from edge_node.machine import usable_bytes
from edge_node.offers import TicketDesk
from edge_node.peers import Exchange
from edge_node.public_addresses import public_addresses
from edge_node.runner import Runner
from edge_node.scheduler import Scheduler
from edge_node.scrubber import Scrubber
from edge_node.server import Limits, NodeParts, build_app
from edge_node.supervisor import Clock
from edge_node.sync import Sync, SyncLimits
from edge_node.telemetry import Metrics
from edge_node.tracing import open_tracing
from edge_node.trust import NodeTrust
from edge_node.variant_choice import speed_features
from origin.api import NodeReport
from origin.client import OriginClient
from registry.software import software_version
from registry.works import Works

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AsyncExitStack

    from aiohttp import web

    from edge_node.config import NodeConfig
    from edge_node.engines.spec import EngineSpec
    from edge_node.enrolment.membership import Membership
    from edge_node.identity import Identity
    from edge_node.model_store import ModelStore
    from edge_node.speeds import SpeedTable
    from edge_node.succession import Heir
    from edge_node.supervisor import Engine
    from origin.api import Directive, MachineReport, ModelReport

log = structlog.get_logger()

_ENGINE_GRACE_S = 2.0


class Node:
    """A node in this event loop; `running_node` makes and ends it."""

    def __init__(
        self,
        config: NodeConfig,
        identity: Identity,
        store: ModelStore,
        build: Callable[[EngineSpec], Engine],
        machine: MachineReport,
        membership: Membership | None = None,
        *,
        listener: Listener,
    ) -> None:
        clock = Clock(now_s=time.monotonic, sleep=asyncio.sleep)
        self.node_id = identity.node_id
        self.url = ""
        self._cordon = Cordon(config.data_dir)
        self._config = config
        self._incarnation = identity.incarnation
        self._place = stated_place(config.place)
        self._software = f"edgeward {software_version()}"
        # Reported every second: of some hundred features those that matter.
        self._machine = msgspec.structs.replace(machine, features=speed_features(machine.features))
        self._renewal = renewal_of(config.data_dir, membership, clock)
        self._origin = self._make_origin(membership)
        self._metrics = Metrics(node_id=self.node_id, software=self._software)
        self._scheduler = Scheduler(
            queue_limit_count=config.queue_limit_count, queue_limit_tokens=config.queue_limit_tokens
        )
        self._runner = Runner(
            build=build,
            clock=clock,
            channel=config.channel,
            limits=runner_limits(
                config,
                room=store.machine.room,
                memory_limit_bytes=usable_bytes(machine, config.memory_limit_bytes) or 0,
                prefix_root=store.prefixes,
            ),
        )
        self._desk = TicketDesk(self.node_id, self._metrics, time.time)
        self._exchange = Exchange(self.node_id)
        self._trust = self._make_trust(clock)
        self._client_keys = keys_of(config, self._trust, clock, time.time)
        self._sync = Sync(
            source=self._origin, trust=self._trust, store=store, runner=self._runner, metrics=self._metrics,
            clock=clock,
            limits=SyncLimits(
                fetch_concurrency_count=config.fetch_concurrency_count, unwanted_keep_s=config.unwanted_keep_s
            ),
            exchange=self._exchange,
        )  # fmt: skip
        self._scrubber = self._make_scrubber(clock)
        self._rtts = ClientRtts()
        self._heartbeat = self._make_heartbeat(clock)
        self._engine_grace_s = _ENGINE_GRACE_S
        self._works = Works()
        self._store = store
        self.listener = listener

    def _make_heartbeat(self, clock: Clock) -> Heartbeat:
        return Heartbeat(
            origin=self._origin, compose=self.report, heard=self._heard, clock=clock,
            jitter=random.SystemRandom().random,
        )  # fmt: skip

    def _make_trust(self, clock: Clock) -> NodeTrust:
        return NodeTrust(
            source=self._origin,
            data_dir=self._config.data_dir,
            trusted_root=self._config.trusted_root,
            takes_first_root=self._config.trust_first_root,
            channel=self._config.channel,
            clock=clock,
            now_unix_s=time.time,
        )

    def _make_scrubber(self, clock: Clock) -> Scrubber:
        return Scrubber(
            installed=self._sync.installed,
            source=self._origin,
            exchange=self._exchange,
            mended=self._sync.mended,
            metrics=self._metrics,
            clock=clock,
            bytes_per_s=self._config.scrub_bytes_per_s,
            pause_s=self._config.scrub_pause_s,
        )

    def _make_origin(self, membership: Membership | None) -> OriginClient:
        return OriginClient(
            origin_urls(self._config, membership),
            timeout_s=self._config.origin_timeout_s,
            tls=self._renewal.tls if self._renewal else None,
        )

    def measures(self, speeds: SpeedTable) -> None:
        """Note how fast models write when they are loaded."""
        loop = asyncio.get_running_loop()

        def measured(quantization: str, *, weights_bytes: int, tokens_per_s: float) -> None:
            note = partial(speeds.note, quantization, weights_bytes=weights_bytes, tokens_per_s=tokens_per_s)
            loop.run_in_executor(None, note)

        self._runner.measured = measured

    def _heard(self, directive: Directive) -> None:
        self._desk.learn(directive.route_keys)
        self._runner.salt_marks(directive.mark_salt)
        self._rtts.told()
        if self._client_keys:
            self._client_keys.heard(directive.client_keys)
        self._sync.heard(directive)

    async def start(self, ends: AsyncExitStack, heir: Heir | None = None) -> None:
        """Open the port, serve what is on the disk, and begin to report; `ends` gets the way back.

        An heir loads first, and opens and reports when the process before it has let go.

        Raises:
            ConfigError: the port cannot be had, or the process before it has changed its mind.
        """
        ends.push_async_callback(self._origin.close)
        ends.push_async_callback(self._exchange.book.close)
        await self.listener.prepare(self._front(ends), ends)
        ends.push_async_callback(self._close_engines)
        ends.push_async_callback(self._works.end)
        if heir is None:
            await self._open()
            await self._sync.restore()
        else:
            await self._sync.restore(borrowed=True)
            await heir.take_over()
            await asyncio.to_thread(self._store.open)
            await self._open()
        self.begin_works()
        if heir is not None:
            await heir.tell_serving()

    async def _open(self) -> None:
        listening_at = await self.listener.open()
        self.url = self._config.public_url or listening_at

    def begin_works(self) -> None:
        """Begin all that the node does besides answering."""
        self._works.begin("sync", self._sync.run)
        self._works.begin("heartbeat", self._heartbeat.run)
        self._works.begin("trust", self._trust.keep_fresh)
        self._works.begin("scrubber", self._scrubber.run)
        if self._client_keys:
            self._works.begin("client keys", self._client_keys.keep_fresh)
        tell = partial(self._works.once, "word of the cordon", self._heartbeat.beat)
        self._works.begin("cordon", partial(self._cordon.watch, tell))
        if self._renewal is not None:
            self._works.begin("renewal", partial(self._renewal.keep_renewed, self._origin))
        if self.listener.tls is not None:
            self._works.begin("tls", self.listener.tls.watch)

    async def pause_works(self) -> None:
        """Do nothing but answer, and let another process have the data directory."""
        await self._works.end()
        self._store.close()

    async def resume_works(self) -> None:
        """Take the data directory back, and begin again."""
        await asyncio.to_thread(self._store.open)
        self.begin_works()

    async def drain(self, hurry: asyncio.Event, *, successor: bool = False) -> None:
        """Let running answers finish: until they have, at most `drain_s`, or until `hurry`.

        Where connections wait in a socket that outlives this process, none is refused: what comes through open ones
        is answered, each for the last time. Otherwise new requests are told to go elsewhere.

        Args:
            hurry: set to cut off what still runs.
            successor: another process serves already, so nobody waits for this one's end.
        """
        started_s = time.monotonic()
        log.info("node.draining", drain_s=self._config.drain_s, successor=successor)
        if not successor:
            self._cordon.leaving = True
            # Not awaited: an origin that is away must not delay the end.
            self._works.once("last words", self._heartbeat.beat)
        if successor or self.listener.is_lent:
            patience_s = self._config.drain_s if successor else min(BYE_S, self._config.drain_s)
            await self.listener.leave(patience_s=patience_s, hurry=hurry)
        else:
            self._runner.drain()
        waits = [asyncio.ensure_future(self._runner.idle()), asyncio.ensure_future(hurry.wait())]
        left_s = max(0.0, self._config.drain_s - (time.monotonic() - started_s))
        try:
            await asyncio.wait(waits, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if not waits[0].done():
                log.warning("answers.cut_off", hurried=hurry.is_set())
                self._engine_grace_s = 0.0
        finally:
            for wait in waits:
                wait.cancel()

    def report(self) -> NodeReport:
        """The heartbeat as of now."""
        return NodeReport(
            node_id=self.node_id,
            incarnation=self._incarnation,
            url=self.url,
            place=self._place,
            label=self._config.label,
            draining=self._cordon.on or self._runner.draining,
            channel=self._config.channel,
            follows=self._config.follows,
            models=self._model_reports(),
            software=self._software,
            machine=self._machine,
            addresses=public_addresses(self._config.public_addresses, self.url),
            handed_on=dict(self._desk.handed_on),
            rtts=self._rtts.pending(),
        )

    def status(self) -> NodeStatus:
        """The node's state for `/readyz`; the gauges of `/metrics` follow it."""
        return NodeStatus(
            draining=self._cordon.on or self._runner.draining,
            models=self._model_reports(),
            origin_up=self._heartbeat.origin_up,
            origin_age_s=self._heartbeat.age_s(),
            channel=self._config.channel,
            trust=self._trust.status(),
            enrolment=self._renewal.status() if self._renewal else None,
            client_keys=self._client_keys.status() if self._client_keys else None,
        )

    def _model_reports(self) -> tuple[ModelReport, ...]:
        reports = tuple(
            with_load(report, self._scheduler.load(report.name, report.version, now_s=time.monotonic()))
            for report in self._sync.model_reports()
        )
        for report in reports:
            if report.state == "ready" and report.load_s is not None:
                self._metrics.model_loaded(model=report.name, load_s=report.load_s)
        for model in self._runner.ready_models():
            self._metrics.prefixes_seen(model=model.name, unusable_count=model.prefixes_unusable_count)
        self._metrics.origin_seen(up=self._heartbeat.origin_up)
        trust = self._trust.status()
        self._metrics.trusted(age_s=trust.age_s, expires_in_s=trust.expires_in_s)
        self._metrics.draining(on=self._cordon.on or self._runner.draining)
        if self._renewal:
            self._metrics.certified(not_after_unix_s=self._renewal.status().not_after_unix_s)
        return reports

    def _front(self, ends: AsyncExitStack) -> web.Application:
        config = self._config
        parts = NodeParts(
            node_id=self.node_id,
            residents=self._runner,
            scheduler=self._scheduler,
            metrics=self._metrics,
            status=self.status,
            software=software_version(),
            shelf=self._exchange.shelf,
            limits=Limits(
                body_limit_bytes=config.body_limit_bytes,
                unpacked_limit_bytes=config.unpacked_limit_bytes,
                connection_idle_s=config.connection_idle_s,
            ),
            cache=AnswerCache(
                limit_bytes=config.response_cache_bytes,
                age_limit_s=config.response_cache_age_s,
                clock=time.monotonic,
            ),
            tracing=open_tracing(config.otlp_endpoint, self.node_id, self._software, ends),
            desk=self._desk,
            rtts=self._rtts,
            gate=self._client_keys.gate if self._client_keys else None,
            last_answers=self.listener.is_left,
        )
        return build_app(parts)

    async def _close_engines(self) -> None:
        await self._runner.close(self._engine_grace_s)
