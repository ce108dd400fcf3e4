"""The origin's process: its parts put together, its port opened, its end in good order."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import signal
import socket
import time
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from origin.fleet import Fleet, FleetRules
from origin.releases import Blobs, Releases
from origin.server import make_app, make_runner
from origin.telemetry import Telemetry
from origin.web.context import Context
from registry.errors import ConfigError
from registry.store.opening import open_store
from registry.store.retrying import RetryingStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from origin.config import OriginConfig
    from registry.store import ObjectStore
    from registry.store.config import StoreConfig

log = structlog.get_logger()

_STORE_TRIES_COUNT = (
    3  # few: the catalog is looked at again anyway, and a node that waits for bytes tries again too
)


def run_origin(config: OriginConfig, store_config: StoreConfig) -> None:
    """Serve until SIGTERM or SIGINT; blocks.

    A store that is away is no reason not to start: nodes are listened to, requests are routed, and `/readyz` says
    what is missing.

    Raises:
        ConfigError: the port is taken, or the host is not one that this origin may listen on.
    """
    check_exposure(config)
    asyncio.run(
        _serve_until_told(config, RetryingStore(open_store(store_config), tries_count=_STORE_TRIES_COUNT))
    )


@contextlib.asynccontextmanager
async def running_origin(config: OriginConfig, store: ObjectStore) -> AsyncIterator[str]:
    """An origin in this event loop; gives its URL, whose port is the real one where the config says 0.

    Raises:
        ConfigError: as `run_origin`.
    """
    check_exposure(config)
    rules = FleetRules(heartbeat_s=config.heartbeat_s, forget_after_s=config.forget_node_after_s)
    releases = Releases(store, refresh_s=config.catalog_refresh_s, now_s=time.monotonic)
    context = Context(config, Fleet(rules), releases, Blobs(store), Telemetry(), time.monotonic)
    runner = make_runner(make_app(context), stop_grace_s=config.stop_grace_s)
    await runner.setup()
    try:
        url = await _listen(runner, config)
        refreshing = asyncio.create_task(releases.keep_fresh(), name="catalog")
        try:
            yield url
        finally:
            refreshing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await refreshing
    finally:
        await runner.cleanup()


def check_exposure(config: OriginConfig) -> None:
    """Refuse to be reached by other machines unless that was said.

    Raises:
        ConfigError: the host is not this machine alone, and `insecure` is off.
    """
    if config.insecure or config.host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(config.host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"origin.host = {config.host!r} can be reached from other machines, and this origin has neither keys nor "
            "TLS; listen on 127.0.0.1, or say --insecure on a network that you trust"
        )


async def _serve_until_told(config: OriginConfig, store: ObjectStore) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    async with running_origin(config, store) as url:
        log.info("origin.started", url=url)
        await told.wait()
        log.info("origin.stopping", grace_s=config.stop_grace_s)
    log.info("origin.stopped")


async def _listen(runner: web.AppRunner, config: OriginConfig) -> str:
    site = web.TCPSite(runner, config.host, config.port)
    try:
        await site.start()
    except OSError as error:
        raise _why_not_listening(error, config) from error
    port = next(address[1] for address in runner.addresses if isinstance(address, tuple))
    host = f"[{config.host}]" if ":" in config.host else config.host
    return f"http://{host}:{port}"


def _why_not_listening(error: OSError, config: OriginConfig) -> ConfigError:
    where = f"port {config.port} on {config.host}"
    if error.errno == errno.EADDRINUSE:
        return ConfigError(f"{where} is in use by another program; choose another with --port")
    if error.errno == errno.EACCES:
        return ConfigError(
            f"{where} needs rights that this process does not have; choose one above 1023 with --port"
        )
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return ConfigError(f"{config.host!r} is not an address of this machine; choose another with --host")
    return ConfigError(f"cannot listen on {where}: {error.strerror or error}")
