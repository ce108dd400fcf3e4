"""The origin's process: its parts put together, its port opened, its end in good order."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import random
import secrets
import signal
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

import structlog

from origin.client_keys import ClientKeys
from origin.dns.opening import dns_door
from origin.fleet import Fleet, FleetRules
from origin.gate import Gate
from origin.geo.network import Network
from origin.geo_files import GeoFiles
from origin.identity.authority import find_authority, fresh_fleet
from origin.identity.aws_desk import AwsDesk
from origin.identity.enrolment import Enrolment
from origin.identity.sts import Sts
from origin.kept_keys import KeptKeys
from origin.pauses import keep_short
from origin.releases import Blobs, Releases
from origin.route_keys import RouteKeys
from origin.server import make_app, make_runner
from origin.sharing.config import SharingConfig
from origin.sharing.in_process import InProcessBus
from origin.sharing.messages import OriginCard, Probed
from origin.sharing.sharing import Sharing
from origin.spans import open_spans
from origin.telemetry import Telemetry
from origin.tickets import SEED_BYTES
from origin.trust import TrustFiles
from origin.web.context import Context
from origin.whereabouts import Whereabouts, keep_known
from registry.errors import ConfigError
from registry.listening import listen
from registry.software import software_version
from registry.store.opening import open_store
from registry.store.retrying import RetryingStore
from registry.systemd import keep_telling, notify
from registry.tls import tls_files
from registry.trust.keys import ROOT_FILE, KeyDirectory
from registry.trust.signed_store import open_signed
from registry.works import Works

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from origin.api import NodeReport
    from origin.config import OriginConfig
    from origin.sharing.bus import Bus
    from origin.spans import Spans
    from registry.store.config import StoreConfig
    from registry.tls import TlsFiles
    from registry.trust.signed_store import SignedStore

log = structlog.get_logger()

_ALONE = SharingConfig()
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  # compared with, never bound to

_STORE_TRIES_COUNT = (
    3  # few: the catalog is looked at again anyway, and a node that waits for bytes tries again too
)


def run_origin(
    config: OriginConfig, store_config: StoreConfig, sharing_config: SharingConfig = _ALONE
) -> None:
    """Serve until SIGTERM or SIGINT; blocks.

    A store that is away is no reason not to start: nodes are listened to, requests are routed, and `/readyz` says
    what is missing.

    Raises:
        ConfigError: the port is taken, or the host is not this machine's.
        TrustRootMissingError: there is no root to check signatures against.
    """
    store = open_signed(
        RetryingStore(open_store(store_config), tries_count=_STORE_TRIES_COUNT),
        scope=store_config.scope,
        keys=KeyDirectory(config.keys_dir, store_config.keys_passphrase) if config.keys_dir else None,
        trusted_root=store_config.trusted_root or store_config.keys_dir / ROOT_FILE,
        kept_dir=config.data_dir / "trust",
    )
    enrolment = _enrolment(config, store_config, store)
    asyncio.run(_serve_until_told(config, store, sharing_config, enrolment))


@contextlib.asynccontextmanager
async def running_origin(
    config: OriginConfig,
    store: SignedStore,
    sharing_config: SharingConfig = _ALONE,
    enrolment: Enrolment | None = None,
) -> AsyncIterator[str]:
    """An origin in this event loop; gives its URL, whose port is the real one where the config says 0.

    `enrolment` opens the door for nodes; without it unenrolled ones alone are heard, where `may_report_unenrolled`.

    Raises:
        ConfigError: as `run_origin`.
    """
    geo_files = GeoFiles([path for path in (config.geo_database, config.as_file) if path is not None])
    spans = open_spans(
        config.otlp_endpoint,
        origin_id=socket.gethostname(),
        software=software_version(),
        now_s=time.monotonic,
        now_unix_ns=time.time_ns,
    )
    context = _context(config, store, sharing_config, geo_files, enrolment, spans)
    tls = tls_files("origin", config.tls_cert_file, config.tls_key_file)
    runner = make_runner(
        make_app(context), stop_grace_s=config.stop_grace_s, connection_idle_s=config.connection_idle_s
    )
    await runner.setup()
    try:
        url = await listen(runner, config.host, config.port, tls.context if tls else None)
        door_url = await _open_door(runner, config, enrolment) if enrolment else ""
        context.sharing.announce(config.public_url or url, config.nodes_public_url or door_url)
        works = _begin_works(context, tls)
        try:
            async with dns_door(
                config,
                context.fleet,
                context.releases,
                context.whereabouts,
                context.telemetry,
                time.monotonic,
            ):
                yield url
        finally:
            await works.end()
    finally:
        await runner.cleanup()
        geo_files.close()
        if spans is not None:
            await asyncio.to_thread(spans.close)


def _context(
    config: OriginConfig,
    store: SignedStore,
    sharing_config: SharingConfig,
    geo_files: GeoFiles,
    enrolment: Enrolment | None,
    spans: Spans | None,
) -> Context:
    """All parts of an origin, put together; nothing runs yet."""
    rules = FleetRules(heartbeat_s=config.heartbeat_s, forget_after_s=config.forget_node_after_s)
    releases = Releases(store, refresh_s=config.catalog_refresh_s, now_s=time.monotonic)
    trust = TrustFiles(store, renews=config.keys_dir is not None, now_unix_s=time.time)
    fleet, telemetry = Fleet(rules), Telemetry()
    route_keys = RouteKeys(lambda: secrets.token_bytes(SEED_BYTES))
    whereabouts = Whereabouts(Network(), geo_files, config.trusted_proxies)

    def taken(report: NodeReport) -> None:
        whereabouts.hear(report, time.monotonic())
        telemetry.reports_told.inc()

    gate, client_keys = _client_keys(config, store, releases)

    def probed(told: Probed) -> None:
        places = fleet.places(probe.node_id for probe in told.rtts)
        whereabouts.hear_probes(told.client, told.place, told.rtts, places, time.monotonic())

    sharing = Sharing(
        _open_bus(sharing_config, config),
        fleet,
        OriginCard(origin_id=secrets.token_hex(8), url=config.public_url),
        time.monotonic,
        route_keys=lambda: route_keys.public_keys(time.monotonic()),
        taken=taken,
        probed=probed,
        refused=lambda reason: telemetry.news_refused.labels(reason).inc(),
    )
    return Context(
        config, fleet, releases, Blobs(store), trust, telemetry, sharing, route_keys, time.monotonic,
        whereabouts=whereabouts, enrolment=enrolment, gate=gate, client_keys=client_keys, spans=spans,
    )  # fmt: skip


def _begin_works(context: Context, tls: TlsFiles | None) -> Works:
    """What an origin does besides answering."""
    works = Works()
    works.begin("catalog", context.releases.keep_fresh)
    works.begin("whereabouts", partial(keep_known, context.whereabouts))
    if context.trust.renews:
        works.begin("renewal", context.trust.keep_renewed)
    if not context.sharing.alone:
        works.begin("sharing", context.sharing.run)
    if context.client_keys is not None:
        works.begin("client keys", context.client_keys.keep_fresh)
    if tls is not None:
        works.begin("tls", tls.watch)
    if context.enrolment is not None:
        works.begin("enrolment", context.enrolment.keep_fresh)
    return works


def _client_keys(
    config: OriginConfig, store: SignedStore, releases: Releases
) -> tuple[Gate | None, ClientKeys]:
    """The gate, None where everybody is let in, and what tells it and the nodes which keys there are."""
    gate = kept = None
    if config.require_keys:
        gate = Gate(max_age_s=config.max_key_age_s)
        kept = KeptKeys(config.data_dir, gate, time.time)
        kept.restore()
    return gate, ClientKeys(store, releases, kept, refresh_s=config.catalog_refresh_s)


async def _open_door(runner: web.AppRunner, config: OriginConfig, enrolment: Enrolment) -> str:
    """Listen for nodes; gives the URL."""
    host = config.nodes_host or config.host
    enrolment.url = await listen(runner, host, config.nodes_port, enrolment.door.context)
    log.info("door.opened", url=enrolment.url, fleet=enrolment.door.authority.fleet)
    return enrolment.url


def _enrolment(config: OriginConfig, store_config: StoreConfig, store: SignedStore) -> Enrolment:
    """With the fleet's authority, made at the first start of an origin that finds none."""
    directory = find_authority((config.keys_dir, store_config.keys_dir), store_config.keys_passphrase)
    directory.open_or_begin(fresh_fleet=fresh_fleet(), now_unix_s=time.time())
    desk = AwsDesk(config.admitted_aws_roles, Sts(config.aws_sts_url))
    return Enrolment(directory, store, config.data_dir, time.time, aws=desk)


def _open_bus(sharing_config: SharingConfig, config: OriginConfig) -> Bus:
    if not sharing_config.servers:
        return InProcessBus()
    for key, host, stated in (
        ("public_url", config.host, config.public_url),
        ("nodes_public_url", config.nodes_host or config.host, config.nodes_public_url),
    ):
        if host in _EVERYWHERE and not stated:
            raise ConfigError(
                f"{host!r} listens on every address: say in origin.{key} where nodes and other origins reach this one "
                "(for example https://origin.example:7743)"
            )
    try:
        over_nats = importlib.import_module("origin.sharing.over_nats")
    except ImportError as error:
        raise ConfigError(
            f"sharing.servers needs the package {error.name}: install edgeward[fleet], or leave it out"
        ) from error
    bus: Bus = over_nats.NatsBus(
        sharing_config, forget_after_s=config.forget_node_after_s, jitter=random.SystemRandom().random
    )
    return bus


async def _serve_until_told(
    config: OriginConfig,
    store: SignedStore,
    sharing_config: SharingConfig = _ALONE,
    enrolment: Enrolment | None = None,
) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    async with running_origin(config, store, sharing_config, enrolment) as url:
        log.info("origin.started", url=url)
        alive = asyncio.create_task(keep_telling())
        short = asyncio.create_task(keep_short(), name="pauses")
        notify("READY=1", f"STATUS=serving at {url}")
        await told.wait()
        notify("STOPPING=1")
        alive.cancel()
        short.cancel()
        log.info("origin.stopping", grace_s=config.stop_grace_s)
    log.info("origin.stopped")
