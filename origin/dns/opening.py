"""The DNS door of one origin, put together from its settings."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from origin.dns.door import Door
from origin.dns.knowledge import OriginKnowledge
from origin.dns.listening import listening
from origin.dns.rate import RateLimit
from origin.dns.records import Zone
from origin.dns.serving import Serving
from origin.dns_settings import check_host_name, name_servers_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from origin.config import OriginConfig
    from origin.fleet import Fleet
    from origin.releases import Releases
    from origin.telemetry import Telemetry
    from origin.whereabouts import Whereabouts


def zone_of(config: OriginConfig) -> Zone:
    """The zone that the settings describe.

    Raises:
        ConfigError: no zone's name, or no name servers that fit it.
    """
    name = check_host_name(config.dns_zone, "origin.dns_zone")
    return Zone(
        name,
        name_servers_of(name, config.dns_ns),
        ttl_s=config.dns_ttl_s,
        nodes_count=config.dns_nodes_count,
        node_port=config.dns_node_port,
    )


@contextlib.asynccontextmanager
async def dns_door(
    config: OriginConfig,
    fleet: Fleet,
    releases: Releases,
    whereabouts: Whereabouts,
    telemetry: Telemetry,
    now_s: Callable[[], float],
) -> AsyncIterator[list[tuple[str, int]]]:
    """Answer DNS while this is open, if a zone is set; gives the addresses and ports.

    Args:
        config: of the origin.
        fleet: whom to choose from.
        releases: the catalog.
        whereabouts: where clients are.
        telemetry: the counters.
        now_s: the fleet's clock.

    Raises:
        ConfigError: an address or a port that cannot be had.
    """
    if not config.dns_zone:
        yield []
        return
    door = Door(
        zone_of(config),
        OriginKnowledge(fleet, releases, whereabouts),
        keep_s=config.dns_keep_s,
        view_s=config.heartbeat_s,
        answer_s=min(5.0, config.dns_ttl_s / 4),
    )
    serving = Serving(door, RateLimit(config.dns_limit_per_s), telemetry, now_s)
    async with listening(config.dns_hosts, config.dns_port, serving) as bound:
        yield bound
