"""Directory: which names exist in the zone, and what each stands for.

    route.example.org               the model that most nodes have ready
    chat.route.example.org          a model, as the bare name `chat`
    canary.chat.route.example.org   a model on one channel, as `chat:canary`
    fra-1.nodes.route.example.org   one node
    ns1.route.example.org           a name server

Two names that come out as the same label: the model published first keeps it, so that no later release can take a
name over. A label that a name server or `nodes` has is never a model's.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from origin.dns.labels import label_of, name_bytes, zone_bytes
from registry.reference import DEFAULT_CHANNEL, Reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from origin.api import CatalogAnswer, NodeReport
    from origin.dns_settings import NameServer

NODES_LABEL = "nodes"


@dataclass(frozen=True, slots=True)
class Target:
    """What a name stands for.

    Attributes:
        name: as DNS carries it, in small letters.
        kind: `folder` is a name that has others below and nothing of its own.
        reference: the model that nodes are chosen for; at the apex None while there is none.
        any_channel: a bare name, which nodes on other channels may answer.
        addresses: of a name server.
    """

    name: bytes
    kind: Literal["apex", "model", "node", "name_server", "folder"]
    reference: Reference | None = None
    any_channel: bool = False
    node_id: str = ""
    addresses: tuple[str, ...] = ()


def names_of(reports: Iterable[NodeReport]) -> tuple[object, ...]:
    """All that the directory takes from the nodes: while this is equal, so is the directory."""
    known = tuple(reports)
    return (
        frozenset(report.node_id for report in known),
        frozenset((model.name, report.channel) for report in known for model in report.models),
        _most_ready(known),
    )


def directory_of(
    zone: str,
    servers: Iterable[NameServer],
    reports: Iterable[NodeReport],
    catalog: CatalogAnswer | None,
) -> dict[bytes, Target]:
    """Every name that exists, by its bytes in small letters.

    Args:
        zone: the zone's name, checked.
        servers: its name servers.
        reports: what the nodes last said.
        catalog: releases and channels; None when they could never be read.
    """
    known = tuple(reports)
    above = zone_bytes(zone)
    found: dict[bytes, Target] = {}
    model = _most_ready(known)
    top = Reference(model, None, DEFAULT_CHANNEL) if model else None
    found[above] = Target(above, "apex", top, any_channel=True)
    for server in servers:
        if server.addresses:
            name = zone_bytes(server.host)
            found[name] = Target(name, "name_server", addresses=server.addresses)
    _add_nodes(found, known, above)
    for name_of_model, channels in _models(known, catalog):
        _add_model(found, name_of_model, channels, above)
    return found


def _most_ready(reports: tuple[NodeReport, ...]) -> str | None:
    """The model that most nodes can answer for now; among equals the first by name."""
    counts = Counter(
        name
        for report in reports
        for name in {model.name for model in report.models if model.state in {"ready", "asleep"}}
    )
    return min(counts, key=lambda name: (-counts[name], name), default=None)


def _add_nodes(found: dict[bytes, Target], reports: tuple[NodeReport, ...], above: bytes) -> None:
    folder = name_bytes((NODES_LABEL,), above)
    if folder is None:
        return
    found.setdefault(folder, Target(folder, "folder"))
    for report in sorted(reports, key=lambda report: report.node_id):
        name = name_bytes((label_of(report.node_id),), folder)
        if name is not None:
            found.setdefault(name, Target(name, "node", node_id=report.node_id))


def _models(
    reports: tuple[NodeReport, ...], catalog: CatalogAnswer | None
) -> list[tuple[str, frozenset[str]]]:
    """The models that there are with their channels, those published first first."""
    channels: dict[str, set[str]] = {}
    first_unix_s: dict[str, float] = {}
    for release in catalog.releases if catalog else ():
        channels.setdefault(release.name, set())
        first_unix_s[release.name] = min(release.created_unix_s, first_unix_s.get(release.name, math.inf))
    pointed: Mapping[str, Mapping[str, str]] = catalog.channels if catalog else {}
    for name, of_name in pointed.items():
        channels.setdefault(name, set()).update(of_name)
    for report in reports:
        for model in report.models:
            channels.setdefault(model.name, set()).add(report.channel)
    order = sorted(channels, key=lambda name: (first_unix_s.get(name, math.inf), name))
    return [(name, frozenset(channels[name])) for name in order]


def _add_model(found: dict[bytes, Target], model: str, channels: frozenset[str], above: bytes) -> None:
    name = name_bytes((label_of(model),), above)
    if name is None or name in found:
        return
    found[name] = Target(name, "model", Reference(model, None, DEFAULT_CHANNEL), any_channel=True)
    for channel in sorted(channels):
        below = name_bytes((label_of(channel),), name)
        if below is not None:
            found.setdefault(below, Target(below, "model", Reference(model, None, channel)))
