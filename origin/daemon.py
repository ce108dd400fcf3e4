"""The origin's process: its parts put together, its port opened, its end in good order."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import random
import secrets
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

import structlog

from origin.fleet import Fleet, FleetRules
from origin.releases import Blobs, Releases
from origin.route_keys import RouteKeys
from origin.server import make_app, make_runner
from origin.sharing.config import SharingConfig
from origin.sharing.in_process import InProcessBus
from origin.sharing.messages import OriginCard
from origin.sharing.sharing import Sharing
from origin.telemetry import Telemetry
from origin.tickets import SEED_BYTES
from origin.trust import TrustFiles
from origin.web.context import Context
from registry.errors import ConfigError
from registry.listening import listen
from registry.store.opening import open_store
from registry.store.retrying import RetryingStore
from registry.trust.keys import ROOT_FILE, KeyDirectory
from registry.trust.signed_store import open_signed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from origin.config import OriginConfig
    from origin.sharing.bus import Bus
    from registry.store.config import StoreConfig
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
    asyncio.run(_serve_until_told(config, store, sharing_config))


@contextlib.asynccontextmanager
async def running_origin(
    config: OriginConfig, store: SignedStore, sharing_config: SharingConfig = _ALONE
) -> AsyncIterator[str]:
    """An origin in this event loop; gives its URL, whose port is the real one where the config says 0.

    Raises:
        ConfigError: as `run_origin`.
    """
    rules = FleetRules(heartbeat_s=config.heartbeat_s, forget_after_s=config.forget_node_after_s)
    releases = Releases(store, refresh_s=config.catalog_refresh_s, now_s=time.monotonic)
    trust = TrustFiles(store, renews=config.keys_dir is not None, now_unix_s=time.time)
    fleet, telemetry = Fleet(rules), Telemetry()
    route_keys = RouteKeys(partial(secrets.token_bytes, SEED_BYTES))
    sharing = Sharing(
        _open_bus(sharing_config, config),
        fleet,
        OriginCard(origin_id=secrets.token_hex(8), url=config.public_url),
        time.monotonic,
        route_keys=lambda: route_keys.own(time.monotonic()),
        keys_told=lambda keys: route_keys.learn(keys, time.monotonic()),
        taken=lambda _report: telemetry.reports_told.inc(),
        refused=lambda reason: telemetry.news_refused.labels(reason).inc(),
    )
    context = Context(
        config, fleet, releases, Blobs(store), trust, telemetry, sharing, time.monotonic, route_keys
    )
    runner = make_runner(make_app(context), stop_grace_s=config.stop_grace_s)
    await runner.setup()
    try:
        url = await listen(runner, config)
        sharing.announce(config.public_url or url)
        tasks = [
            asyncio.create_task(releases.keep_fresh(), name="catalog"),
            asyncio.create_task(trust.keep_renewed(), name="renewal"),
            asyncio.create_task(sharing.run(), name="sharing"),
        ]
        try:
            yield url
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await runner.cleanup()


def _open_bus(sharing_config: SharingConfig, config: OriginConfig) -> Bus:
    if not sharing_config.servers:
        return InProcessBus()
    if config.host in _EVERYWHERE and not config.public_url:
        raise ConfigError(
            f"origin.host = {config.host!r} listens on every address: say in origin.public_url where nodes and other "
            "origins reach this one (for example http://203.0.113.7:7700)"
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
    config: OriginConfig, store: SignedStore, sharing_config: SharingConfig = _ALONE
) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    async with running_origin(config, store, sharing_config) as url:
        log.info("origin.started", url=url)
        await told.wait()
        log.info("origin.stopping", grace_s=config.stop_grace_s)
    log.info("origin.stopped")
