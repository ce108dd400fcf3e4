"""The account of one request: what is known of it, filled in as it happens; its end is one wide log line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import structlog

from edge_node.cache.terms import ANY_TERMS
from edge_node.telemetry import UNKNOWN_MODEL
from origin.gate import ANYBODY, Caller

if TYPE_CHECKING:
    from edge_node.cache.terms import CacheState, Terms
    from edge_node.offers import Carried
    from edge_node.telemetry import Metrics

log = structlog.get_logger()

_WORST_LAST: tuple[CacheState, ...] = ("hit", "coalesced", "miss", "bypass")


class Tracing(Protocol):
    """Who is told of every request that has ended (`edge_node.spans.Spans`)."""

    def ended(self, account: Account, *, status: int) -> None:
        """A request has ended."""


@dataclass(slots=True, kw_only=True)
class Account:
    """What is known of one request.

    Attributes:
        answer_id: unique on this node, unlike `request_id`, which the client may choose.
        client: whose request it is: the id of its client key, or, where none is asked for, a name made of what it
            authorizes itself with; empty without. Nothing that is kept is shared between clients.
        caller: whose key let it in.
        share: whose part of the queue it takes: the client's, or without a key its address's.
        carried: the ticket that it came with.
        terms: what it says about kept answers.
        traceparent: the W3C header with the trace that it belongs to.
        started_s: when its prompt had been read by an engine, on the node's clock.
        deadline_s: when the client stops waiting for the first token, on the node's clock.
        asked: what the request called the model.
        cache: where the answer came from; None where nothing is ever kept.
        replayed: the response was sent as it was kept, and is counted already.
        age_s: how old a kept answer is.
        stamp: what answered (`edge_node.residents.Lease`), when all of it came from the same.
        prompt_bytes: the body's size after decompression, from which its tokens are guessed.
        request_bytes: the body's size as it travelled.
        error: the code of the error that ended it, or nothing.
        status: set when it is not the response's, because that had begun before the error.
        resumed_tokens: of the answer, those that another node had written; in `completion_tokens` too.
    """

    request_id: str
    answer_id: str
    route: str
    arrived_s: float
    client: str = ""
    caller: Caller = ANYBODY
    share: str = ""
    carried: Carried | None = None
    terms: Terms = ANY_TERMS
    deadline_s: float | None = None
    traceparent: str = ""
    started_s: float | None = None
    asked: str = ""
    model: str = UNKNOWN_MODEL
    release: str = ""
    operation: str = ""
    cache: CacheState | None = None
    replayed: bool = False
    age_s: float = 0.0
    stamp: str = ""
    error: str = ""
    status: int | None = None
    finish_reason: str = ""
    queue_ms: float | None = None
    prefill_ms: float | None = None
    first_token_ms: float | None = None
    decode_ms: float | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    resumed_tokens: int = 0
    prompt_bytes: int = 0
    request_bytes: int = 0
    response_bytes: int = 0

    def answered_from(self, state: CacheState, stamp: str, age_s: float = 0.0) -> None:
        """Note where an answer, or one of several that make it up, came from."""
        if self.cache is None:
            self.cache, self.stamp = state, stamp
        else:
            self.cache = max(self.cache, state, key=_WORST_LAST.index)
            self.stamp = stamp if self.stamp == stamp else ""
        self.age_s = max(self.age_s, age_s)

    def server_timing(self, now_s: float | None = None) -> str:
        """What is measured so far, for the header `Server-Timing`; with `now_s`, how long it took in all."""
        parts = {"queue": self.queue_ms, "prefill": self.prefill_ms, "decode": self.decode_ms}
        entries = [f"{name};dur={ms:.1f}" for name, ms in parts.items() if ms is not None]
        if self.cache in {"hit", "miss", "coalesced"}:
            entries.append(f"cache;desc={self.cache}")
        if now_s is not None:
            entries.append(f"total;dur={(now_s - self.arrived_s) * 1000:.1f}")
        return ", ".join(entries)

    def close(
        self, *, status: int, now_s: float, metrics: Metrics, wide: bool, tracing: Tracing | None = None
    ) -> None:
        """Count the request, and log it when `wide`."""
        total_s = now_s - self.arrived_s
        status = self.status or status
        if tracing is not None:
            tracing.ended(self, status=status)
        if self.replayed:
            return
        metrics.request_answered(route=self.route, model=self.model, code=status, duration_s=total_s)
        if self.cache in {"hit", "coalesced"}:
            metrics.tokens_saved(prompt_count=self.prompt_tokens, completion_count=self.completion_tokens)
        else:
            metrics.tokens(
                prompt_count=self.prompt_tokens,
                cached_count=self.cached_tokens,
                completion_count=max(0, self.completion_tokens - self.resumed_tokens),
            )
        if self.cache is not None:
            metrics.cache_asked(state=self.cache)
        if not wide:
            return
        log.info(
            "request.answered",
            route=self.route,
            status=status,
            error=self.error,
            model=self.model,
            release=self.release,
            request_id=self.request_id,
            answer_id=self.answer_id,
            cache=self.cache,
            finish_reason=self.finish_reason,
            queue_ms=_rounded(self.queue_ms),
            prefill_ms=_rounded(self.prefill_ms),
            first_token_ms=_rounded(self.first_token_ms),
            total_ms=_rounded(total_s * 1000),
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.cached_tokens,
            completion_tokens=self.completion_tokens,
            resumed_tokens=self.resumed_tokens,
            request_bytes=self.request_bytes,
            response_bytes=self.response_bytes,
        )


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)
