"""What an origin counts, in a Prometheus registry of its own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_DURATIONS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Telemetry:
    """The origin's metrics; the gauges are set when they are read."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.nodes = Gauge("origin_nodes", "Nodes by state", ["state"], registry=self._registry)
        self.fleet_isolated = Gauge(
            "origin_fleet_isolated",
            "1 while most nodes fell silent together and the last list is kept",
            registry=self._registry,
        )
        self.rtts = Counter(
            "origin_rtts_total",
            "Round trips taken in, by who measured them",
            ["source"],
            registry=self._registry,
        )
        self.reports = Counter("origin_reports_total", "Heartbeats taken in", registry=self._registry)
        self._count_sharing()
        self._count_enrolments()
        self._count_keys()
        self._decisions = Counter(
            "router_decisions_total", "Routing decisions by reason", ["reason"], registry=self._registry
        )
        self._decisions_by: dict[str, Counter] = {}
        self.catalog_age = Gauge(
            "origin_catalog_age_seconds",
            "Age of the catalog being served; NaN before the first read",
            registry=self._registry,
        )
        self.catalog_stale = Gauge(
            "origin_catalog_stale", "1 while the last read of the catalog failed", registry=self._registry
        )
        self.trust_expires = Gauge(
            "origin_trust_expires_seconds",
            "Until a role's signed word expires and nodes stop to install by it; negative after that",
            ["role"],
            registry=self._registry,
        )
        self.blob_bytes = Counter("origin_blob_bytes_total", "Bytes of packs sent", registry=self._registry)
        self.requests = Histogram(
            "origin_request_duration_seconds",
            "Time to answer, the body included",
            ["method", "url", "status"],
            buckets=_DURATIONS_S,
            registry=self._registry,
        )

        self._count_dns()

    def _count_keys(self) -> None:
        self.keys_refused = Counter(
            "origin_auth_failures_total",
            "Requests that were not let in, by the code of the refusal",
            ["reason"],
            registry=self._registry,
        )
        self.keys_age = Gauge(
            "origin_client_keys_age_seconds",
            "Age of the list of client keys; NaN before the first read, and where none is asked for",
            registry=self._registry,
        )

    def _count_dns(self) -> None:
        self.dns_answers = Counter(
            "origin_dns_answers_total", "Answers over DNS by their rcode", ["rcode"], registry=self._registry
        )
        self.dns_dropped = Counter(
            "origin_dns_dropped_total",
            "Packets and connections of DNS that got no answer, or only an empty one",
            ["reason"],
            registry=self._registry,
        )

    def _count_sharing(self) -> None:
        self.sharing_connected = Gauge(
            "origin_sharing_connected",
            "0 while the other origins cannot be told anything; 1 where there are none",
            registry=self._registry,
        )
        self.origins_heard = Gauge(
            "origin_origins_heard", "Other origins that are heard now", registry=self._registry
        )
        self.reports_told = Counter(
            "origin_reports_told_total", "Heartbeats taken in from other origins", registry=self._registry
        )
        self.news_refused = Counter(
            "origin_news_refused_total",
            "What other origins told and was not taken in",
            ["reason"],
            registry=self._registry,
        )

    def _count_enrolments(self) -> None:
        self.enrolments = Counter(
            "origin_enrolments_total",
            "Nodes that asked for a certificate: the verb (join, renew), and ok or the error's code",
            ["verb", "result"],
            registry=self._registry,
        )
        self.certificate_ends = Gauge(
            "origin_cert_not_after_timestamp_seconds",
            "When the certificate of the door for nodes ends; NaN where there is no such door",
            registry=self._registry,
        )

    def decided(self, reason: str) -> None:
        """Count a decision; a child is looked up by its labels once, since that takes longer than counting."""
        child = self._decisions_by.get(reason)
        if child is None:
            child = self._decisions_by[reason] = self._decisions.labels(reason)
        child.inc()

    def rendered(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)
