"""Counters and histograms of one node, and their page in the Prometheus text format.

Each node has a registry of its own, so that several nodes in one process do not mix. The `model` label takes
only names of releases that were resident (anything else is `unknown`), so a client cannot make series.
"""

from __future__ import annotations

import math
from typing import Literal

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

UNKNOWN_MODEL = "unknown"
CONTENT_TYPE = CONTENT_TYPE_LATEST

# gen_ai.server.time_to_first_token of the OpenTelemetry semantic conventions for generative AI.
_FIRST_TOKEN_BUCKETS_S = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08),
    *(0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
)
# gen_ai.server.time_per_output_token of the same.
_TOKEN_GAP_BUCKETS_S = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
# gen_ai.server.request.duration of the same.
_DURATION_BUCKETS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)


class Metrics:
    """All that a node counts."""

    def __init__(self, *, node_id: str, software: str) -> None:
        self._registry = CollectorRegistry()
        build = Gauge(
            "edge_build_info", "The node and its software.", ["node", "software"], registry=self._registry
        )
        build.labels(node_id, software).set(1)
        self._requests = Counter(
            "edge_requests", "Requests answered.", ["route", "model", "code"], registry=self._registry
        )
        self._running = self._gauge("edge_requests_running", "Requests at work in an engine.", ["model"])
        self._waiting = self._gauge(
            "edge_requests_waiting", "Requests waiting for an engine's slot.", ["model"]
        )
        self._duration = self._histogram(
            "edge_request_duration_seconds",
            "From the request's arrival to its end.",
            _DURATION_BUCKETS_S,
            ["route"],
        )
        self._first_token = self._histogram(
            "edge_time_to_first_token_seconds",
            "From arrival to the first token, of answers that were computed.",
            _FIRST_TOKEN_BUCKETS_S,
            ["model"],
        )
        self._queue_wait = self._histogram(
            "edge_queue_wait_seconds", "Waiting for an engine's slot.", _FIRST_TOKEN_BUCKETS_S, ["model"]
        )
        self._token_gap = self._histogram(
            "edge_time_per_output_token_seconds",
            "Between a token and the one before.",
            _TOKEN_GAP_BUCKETS_S,
            ["model"],
        )
        self._token_gap_of: dict[str, Histogram] = {}
        self._tokens = Counter(
            "edge_tokens", "Tokens read and written.", ["direction"], registry=self._registry
        )
        self._count_reuse()
        self._payload = Counter(
            "edge_payload_bytes", "Bodies that travelled in zstd: their size before and after.", ["stage"],
            registry=self._registry,
        )  # fmt: skip
        self._count_artifacts()
        self._count_handing_on()
        self._count_origin()
        self._drain = self._gauge("edge_drain_state", "1 while the node takes no new requests.", [])

    def _count_handing_on(self) -> None:
        self._tickets = Counter(
            "edge_tickets", "Tickets looked at, by what came of it.", ["state"], registry=self._registry
        )
        self._handed_on = Counter(
            "edge_requests_handed_on",
            "Requests sent on to another node of their ticket.",
            ["reason"],
            registry=self._registry,
        )

    def _count_origin(self) -> None:
        self._origin_up = self._gauge("edge_origin_up", "1 while the origin answers.", [])
        self._trust_age = self._gauge(
            "edge_trust_age_seconds", "Since the signed metadata were last verified; NaN before.", []
        )
        self._trust_expires = self._gauge(
            "edge_trust_expires_seconds", "Until they expire and installs stop; negative after that.", []
        )
        self._certificate_ends = self._gauge(
            "edge_cert_not_after_timestamp_seconds",
            "When the node's certificate ends; NaN without one.",
            [],
        )
        self._certificate_ends.set(math.nan)
        self._keys_refused = Counter(
            "edge_auth_failures",
            "Requests that were not let in, by the code of the refusal.",
            ["reason"],
            registry=self._registry,
        )
        self._keys_count = self._gauge(
            "edge_client_keys", "Client keys in the list; NaN where none is asked for.", []
        )
        self._keys_age = self._gauge(
            "edge_client_keys_age_seconds", "Since their list was last verified; NaN before.", []
        )
        self._keys_count.set(math.nan)
        self._keys_age.set(math.nan)

    def _count_reuse(self) -> None:
        self._continued = Counter(
            "edge_answers_continued", "Answers that went on after a cut.", ["after"], registry=self._registry
        )
        self._prefix_tokens = Counter(
            "edge_prefix_cached_tokens",
            "Prompt tokens that were not read again.",
            registry=self._registry,
        )
        self._prefix_hits = Counter(
            "edge_prefix_hits",
            "Prompts with a prefix at hand, and where.",
            ["source"],
            registry=self._registry,
        )
        self._cache_asked = Counter(
            "edge_cache_requests",
            "Requests by what the response cache did.",
            ["state"],
            registry=self._registry,
        )
        self._cache_tokens = Counter(
            "edge_cache_tokens",
            "Tokens that were not computed again.",
            ["direction"],
            registry=self._registry,
        )
        self._replayed: dict[tuple[str, str, int], tuple[Counter, Counter, Counter, Counter, Histogram]] = {}
        self._cache_bytes = self._gauge("edge_cache_bytes", "What the kept answers weigh.", [])
        self._cache_entries = self._gauge("edge_cache_entries", "How many answers are kept.", [])

    def _count_artifacts(self) -> None:
        self._pull = Counter(
            "edge_artifact_pull_bytes", "Model bytes fetched.", ["source"], registry=self._registry
        )
        self._chunks_served = Counter(
            "edge_chunks_served_bytes", "Model bytes sent to other nodes.", registry=self._registry
        )
        self._verify_failures = Counter(
            "edge_artifact_verify_failures", "Releases found damaged on the disk.", registry=self._registry
        )
        self._repairs = Counter(
            "edge_artifact_repairs", "Releases mended on the disk.", registry=self._registry
        )
        self._model_load = self._gauge("edge_model_load_seconds", "Time the newest load took.", ["model"])
        self._prefixes_unusable = self._gauge(
            "edge_prefixes_unusable", "Published prefixes that only another engine or CPU can use.", ["model"]
        )

    def request_answered(self, *, route: str, model: str, code: int, duration_s: float) -> None:
        """Count a request that has ended."""
        self._requests.labels(route, model, str(code)).inc()
        self._duration.labels(route).observe(duration_s)

    def ticket_read(self, *, state: str) -> None:
        """Count a ticket by what came of reading it."""
        self._tickets.labels(state).inc()

    def handed_on(self, *, reason: str) -> None:
        """Count a request that was sent on to another node."""
        self._handed_on.labels(reason).inc()

    def prompt_started(self, *, model: str, queue_s: float, cached_from: str) -> None:
        """Note how long a request waited for a slot, and where the beginning of its prompt was found."""
        self._queue_wait.labels(model).observe(queue_s)
        if cached_from:
            self._prefix_hits.labels(cached_from).inc()

    def answer_continued(self, *, after: Literal["engine", "elsewhere"]) -> None:
        """Count an answer that went on, after the death of an engine here or after a cut elsewhere."""
        self._continued.labels(after).inc()

    def tokens_apart(self, *, model: str, gap_s: float, count: int) -> None:
        """Note so many tokens, each this long after the one before."""
        # For every token: finding the series by its label takes longer than all the rest.
        histogram = self._token_gap_of.get(model)
        if histogram is None:
            histogram = self._token_gap_of[model] = self._token_gap.labels(model)
        for _ in range(min(count, 16)):
            histogram.observe(gap_s)

    def first_token(self, *, model: str, after_s: float) -> None:
        """Note a time to first token."""
        self._first_token.labels(model).observe(after_s)

    def tokens(self, *, prompt_count: int, cached_count: int, completion_count: int) -> None:
        """Count tokens read and written; `cached_count` of the prompt's were not read again."""
        self._tokens.labels("prompt").inc(prompt_count)
        self._tokens.labels("completion").inc(completion_count)
        self._prefix_tokens.inc(cached_count)

    def tokens_saved(self, *, prompt_count: int, completion_count: int) -> None:
        """Count tokens of an answer that was kept, or computed for someone else."""
        self._cache_tokens.labels("prompt").inc(prompt_count)
        self._cache_tokens.labels("completion").inc(completion_count)

    def replayed(
        self,
        *,
        route: str,
        model: str,
        code: int,
        duration_s: float,
        prompt_count: int,
        completion_count: int,
    ) -> None:
        """Count a response that was sent again as it was; all counters of a request in one, found once."""
        children = self._replayed.get((route, model, code))
        if children is None:
            children = self._replayed[route, model, code] = (
                self._requests.labels(route, model, str(code)),
                self._cache_asked.labels("hit"),
                self._cache_tokens.labels("prompt"),
                self._cache_tokens.labels("completion"),
                self._duration.labels(route),
            )
        requests, hits, prompts, completions, duration = children
        requests.inc()
        hits.inc()
        prompts.inc(prompt_count)
        completions.inc(completion_count)
        duration.observe(duration_s)

    def cache_asked(self, *, state: str) -> None:
        """Count what the response cache did."""
        self._cache_asked.labels(state).inc()

    def cache_size(self, *, used_bytes: int, entries_count: int) -> None:
        """Set what the response cache holds."""
        self._cache_bytes.set(used_bytes)
        self._cache_entries.set(entries_count)

    def payload_compressed(self, *, raw_bytes: int, zstd_bytes: int) -> None:
        """Count a body that travelled in zstd, either way."""
        self._payload.labels("raw").inc(raw_bytes)
        self._payload.labels("zstd").inc(zstd_bytes)

    def load(self, *, model: str, busy: int, queued: int) -> None:
        """Set how busy a model is."""
        self._running.labels(model).set(busy)
        self._waiting.labels(model).set(queued)

    def artifact_pulled(
        self, *, source: Literal["origin", "peer", "delta", "local"], pulled_bytes: int
    ) -> None:
        """Count model bytes that a pull took from a source."""
        self._pull.labels(source).inc(pulled_bytes)

    def chunk_served(self, *, served_bytes: int) -> None:
        """Count model bytes that went to another node."""
        self._chunks_served.inc(served_bytes)

    def verify_failed(self) -> None:
        """Count a release that was found damaged on the disk."""
        self._verify_failures.inc()

    def repaired(self) -> None:
        """Count a release that was mended."""
        self._repairs.inc()

    def model_loaded(self, *, model: str, load_s: float) -> None:
        """Note how long loading a release took."""
        self._model_load.labels(model).set(load_s)

    def prefixes_seen(self, *, model: str, unusable_count: int) -> None:
        """Note how many of a release's prefixes are computed here instead."""
        self._prefixes_unusable.labels(model).set(unusable_count)

    def origin_seen(self, *, up: bool) -> None:
        """Note whether the origin answered last time."""
        self._origin_up.set(up)

    def trusted(self, *, age_s: float | None, expires_in_s: float | None) -> None:
        """Note how old the signed metadata are, and how long they are good."""
        self._trust_age.set(math.nan if age_s is None else age_s)
        self._trust_expires.set(math.nan if expires_in_s is None else expires_in_s)

    def key_refused(self, *, reason: str) -> None:
        """Count a request that was not let in."""
        self._keys_refused.labels(reason).inc()

    def keys_known(self, *, keys_count: int, age_s: float | None) -> None:
        """What is known of client keys."""
        self._keys_count.set(keys_count)
        self._keys_age.set(math.nan if age_s is None else age_s)

    def certified(self, *, not_after_unix_s: float) -> None:
        """Note when the node's certificate ends."""
        self._certificate_ends.set(not_after_unix_s)

    def draining(self, *, on: bool) -> None:
        """Note whether the node takes new requests."""
        self._drain.set(on)

    def page(self) -> bytes:
        """Everything in the Prometheus text format; its media type is `CONTENT_TYPE`."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, text: str, labels: list[str]) -> Gauge:
        return Gauge(name, text, labels, registry=self._registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], labels: list[str]) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)
