"""The expected seconds until the first token, as a sum of terms that each mean something alone.

    network   round trips to the node, of the estimated RTT each
    queue     requests ahead of this one, of the measured service time each, over the slots
    prefill   reading the prompt at the node's measured rate
    load      making the release ready, while it is still loading or sleeps
    age       how stale our knowledge of a suspect node is

Each term is in seconds, so none needs a weight; lower is better. What a node has not measured is taken from the
other candidates for the same model.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from origin.api import RankedNode
from origin.geo.distance import MEAN_DISTANCE_KM, distance_km, estimated_rtt_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from origin.api import ModelReport, Place
    from origin.fleet import FleetRules, Standing

UNMEASURED_SERVICE_S = 1.0
UNMEASURED_LOAD_S = 5.0
_ROUND_TRIPS_TLS = 3  # TCP, TLS 1.3, the request: a client that follows a redirect has no connection yet
_ROUND_TRIPS_PLAIN = 2  # TCP, the request


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node with the release that it would answer from."""

    standing: Standing
    model: ModelReport

    @property
    def ready(self) -> bool:
        """Whether it answers a request that comes now; the other candidates are still loading.

        A sleeping release answers, too: its node loads it for the request, which costs the load in full.
        """
        return self.model.state in {"ready", "asleep"}


@dataclass(frozen=True, slots=True)
class Measured:
    """What stands in for a figure that a node has not measured: the median over those that have."""

    service_s: float
    prefill_tokens_per_s: float | None
    load_s: float


def measured(candidates: Sequence[Candidate]) -> Measured:
    """The medians of a model's candidates."""
    models = [candidate.model for candidate in candidates]
    services = [m.service_s for m in models if m.service_s is not None]
    rates = [m.prefill_tokens_per_s for m in models if m.prefill_tokens_per_s]
    loads = [m.load_s for m in models if m.load_s is not None]
    return Measured(
        service_s=median(services) if services else UNMEASURED_SERVICE_S,
        prefill_tokens_per_s=median(rates) if rates else None,
        load_s=median(loads) if loads else UNMEASURED_LOAD_S,
    )


def scored(
    candidate: Candidate,
    *,
    place: Place | None,
    prompt_tokens: int,
    others: Measured,
    rules: FleetRules,
    now_s: float,
) -> RankedNode:
    """The candidate with its score; without a client's place the network counts for nothing, for all alike."""
    report, model = candidate.standing.report, candidate.model
    apart_km = distance_km(place, report.place) if place is not None and report.place is not None else None
    rtt_ms = (
        estimated_rtt_ms(MEAN_DISTANCE_KM if apart_km is None else apart_km) if place is not None else 0.0
    )
    round_trips = _ROUND_TRIPS_TLS if report.url.startswith("https:") else _ROUND_TRIPS_PLAIN
    terms_s = {
        "network": round_trips * rtt_ms / 1000,
        "queue": queue_s(candidate, others),
        "prefill": prefill_s(model, prompt_tokens, others),
        "load": load_s(candidate, others, now_s),
        "age": age_s(candidate.standing, rules),
    }
    return RankedNode(
        node_id=report.node_id,
        url=report.url,
        label=report.label,
        place=report.place,
        distance_km=apart_km,
        rtt_ms=rtt_ms,
        score_s=sum(terms_s.values()),
        terms_s=terms_s,
        version=model.version,
    )


def queue_s(candidate: Candidate, others: Measured) -> float:
    """The wait for a slot, with the requests sent there since the last heartbeat counted in.

    A request that was sent longer ago than it takes to serve one is over by now.
    """
    model = candidate.model
    service_s = others.service_s if model.service_s is None else model.service_s
    sent_age_s = candidate.standing.routed_age_s.get((model.name, model.version), ())
    sent_count = sum(age < service_s for age in sent_age_s)
    slots = max(1, model.slots)
    ahead_count = max(0, model.busy + model.queued + sent_count + 1 - slots)
    return ahead_count * service_s / slots


def prefill_s(model: ModelReport, prompt_tokens: int, others: Measured) -> float:
    """The time to read the prompt; 0 while nobody has measured a rate."""
    rate = model.prefill_tokens_per_s or others.prefill_tokens_per_s
    return prompt_tokens / rate if rate else 0.0


def load_s(candidate: Candidate, others: Measured, now_s: float) -> float:
    """A whole load when asleep, the rest of one under way, which is about to end if it is late; 0 when ready."""
    model = candidate.model
    if model.state == "ready":
        return 0.0
    whole_s = others.load_s if model.load_s is None else model.load_s
    if model.state == "asleep":
        return whole_s
    watch = candidate.standing.watches.get((model.name, model.version))
    return max(0.1, whole_s - (now_s - watch.since_s if watch is not None else 0.0))


def age_s(standing: Standing, rules: FleetRules) -> float:
    """A penalty for silence: nothing while a node is up, then the heartbeats that are missing, at most 2."""
    if standing.age_s <= rules.suspect_after_s:
        return 0.0
    return min(standing.age_s - rules.heartbeat_s, 2 * rules.heartbeat_s)
