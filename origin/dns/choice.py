"""Which nodes a name is answered with, for one client: the fleet's choice, cut to what fits into an answer."""

from __future__ import annotations

import hashlib
import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from origin.errors import ModelUnknownError, NoNodeAvailableError
from origin.geo.choose import Ask, choose
from origin.geo.distance import MEAN_DISTANCE_KM, distance_km

if TYPE_CHECKING:
    from collections.abc import Mapping

    from origin.api import CatalogAnswer, NodeReport, RankedNode
    from origin.dns.directory import Target
    from origin.fleet import FleetView
    from origin.geo.client_spot import ClientSpot
    from origin.geo.network import Network


class NodeAddress(NamedTuple):
    """A node as DNS tells of it; `port` and `secure` are those of its URL, the addresses are text."""

    node_id: str
    port: int
    secure: bool
    ipv4: tuple[str, ...]
    ipv6: tuple[str, ...]
    url: str
    version: str = ""


class Choice(NamedTuple):
    """Nodes for one name and client, best first.

    Attributes:
        stale: nobody answers now, and these did when they were last heard.
        known: whether anything is known to choose from: False is no reason to say that there is no address.
        shared: the same for every client, since there was nothing to choose.
    """

    nodes: tuple[NodeAddress, ...] = ()
    stale: bool = False
    known: bool = True
    shared: bool = False


def chosen(
    view: FleetView,
    reports: Mapping[str, NodeReport],
    catalog: CatalogAnswer | None,
    target: Target,
    spot: ClientSpot,
    session: str,
    *,
    network: Network | None,
    limit_count: int,
    keep_s: float,
) -> Choice:
    """The ranked nodes for a target and a client.

    When no node is up, those that were heard within `keep_s` stand in: a resolver that gets no address has nothing,
    and it may be the origin that is cut off, while nodes serve on without one (the spirit of RFC 8767).

    Args:
        view: the fleet now.
        reports: what its nodes last said, by their ids; those that came later have no address yet.
        catalog: what is known of releases.
        target: an apex, a model, or a node.
        spot: where the client is.
        session: what hashes among equals go by.
        network: round trips that were measured; None goes by places alone.
        limit_count: how many to rank.
        keep_s: how long silent nodes stand in.
    """
    if target.kind == "node":
        report = reports.get(target.node_id)
        return Choice((address_of(report),) if report else (), shared=True)
    if target.reference is None:
        return Choice(known=False, shared=True)
    ask = Ask(
        target.reference,
        any_channel=target.any_channel,
        spot=spot,
        session=session,
        limit=limit_count,
    )
    nodes = tuple(
        address_of(reports[node.node_id], node.version)
        for node in _ranked(view, ask, catalog, network)
        if node.node_id in reports and _held(reports[node.node_id], ask)
    )
    if nodes:
        return Choice(nodes, shared=len(nodes) == 1)
    nodes = tuple(address_of(report) for report in _last_heard(view, ask, spot, keep_s))
    return Choice(nodes, stale=bool(nodes), known=bool(reports), shared=len(nodes) < 2)


def _ranked(
    view: FleetView, ask: Ask, catalog: CatalogAnswer | None, network: Network | None
) -> tuple[RankedNode, ...]:
    try:
        return choose(view, ask, catalog, network=network).nodes
    except (NoNodeAvailableError, ModelUnknownError):
        return ()


def _last_heard(view: FleetView, ask: Ask, spot: ClientSpot, keep_s: float) -> list[NodeReport]:
    """Nodes that fell silent not long ago, without having said that they would leave, the nearest first.

    Nothing but places counts: what they said of their load is too old.
    """

    def order(report: NodeReport) -> tuple[float, bytes]:
        apart_km = MEAN_DISTANCE_KM
        if spot.place is not None and report.place is not None:
            apart_km = distance_km(spot.place, report.place)
        return apart_km, hashlib.sha256(f"{ask.session}\0{report.node_id}".encode()).digest()

    silent = [
        standing.report
        for standing in view.standings
        if standing.state == "down" and standing.age_s <= keep_s and not standing.report.draining
    ]
    return sorted((it for it in silent if _held(it, ask)), key=order)[: ask.limit]


def _held(report: NodeReport, ask: Ask) -> bool:
    """Whether a node could answer for the model when it was last heard, not only load it."""
    if not ask.any_channel and report.channel != ask.reference.channel:
        return False
    return any(
        model.name == ask.reference.name and model.state in {"ready", "asleep"} for model in report.models
    )


def address_of(report: NodeReport, version: str = "") -> NodeAddress:
    """A node as its report has it; addresses that are none are left out."""
    return _parsed(report.node_id, report.url, report.addresses, version)


@lru_cache(maxsize=16_384)
def _parsed(node_id: str, url: str, addresses: tuple[str, ...], version: str) -> NodeAddress:
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
    except ValueError:  # a node may report anything: one without a port is never answered for
        secure, port = False, 0
    ipv4: list[str] = []
    ipv6: list[str] = []
    for text in addresses:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        (ipv4 if address.version == 4 else ipv6).append(str(address))
    return NodeAddress(node_id, port, secure, tuple(ipv4), tuple(ipv6), url, version)
