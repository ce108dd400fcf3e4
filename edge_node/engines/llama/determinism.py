"""The proof that answers do not depend on their neighbours: how many may share a batch, found by trying it.

Sequences that begin with one long text are continued alone and together. The largest number of rows that gives every
score bit for bit as alone is what this engine claims, for this model, build, CPU and number of threads, and no more
than that. The result is kept beside the prefixes, under a key of all of these.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_node.engine_room import LANE_ROWS_LIMIT as ROWS_LIMIT
from edge_node.engine_room import lane_rows_count
from edge_node.engines.llama.batch import Decoder, Outcome
from edge_node.engines.llama.exact_context import open_exact
from edge_node.engines.llama.exact_lane import CHUNK_TOKENS, ExactLane
from edge_node.engines.llama.library import gguf_path, kv_limit_bytes, token_bytes
from edge_node.engines.llama.memory import KvMemory
from edge_node.engines.llama.prefix_disk import ROWS_NAME
from edge_node.engines.llama.prefix_identity import prefix_identity
from edge_node.engines.llama.slots import Share
from registry.durable import write_durably

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_node.engines import Event
    from edge_node.engines.llama.generation import Generation
    from edge_node.engines.spec import EngineSpec

# Beyond the length at which llama.cpp splits attention between threads.
_SHARED_TOKENS = 4 * CHUNK_TOKENS
_OWN_TOKENS = 24
_STEPS_COUNT = 3
# About how many chunks' time the whole takes.
_CHUNKS_COUNT = 7


class _LateError(Exception):
    """The time is up."""


def open_lane(
    spec: EngineSpec,
    model: Any,
    *,
    rows: int,
    context_tokens: int,
    advance: Callable[[Generation, Any, int], tuple[list[Event], bool]],
) -> ExactLane:
    """The lane of deterministic requests, in the kind of context that was tried; `rows` share a batch at most.

    Raises:
        EngineFailedError: there is no memory for it.
    """
    rows = lane_rows_count(
        rows, context_tokens, token_bytes=token_bytes(model, spec), limit_bytes=kv_limit_bytes(spec)
    )
    opened = open_exact(spec, model, context_tokens=context_tokens, rows=rows, chunk_tokens=CHUNK_TOKENS)
    decoder = Decoder(opened.context, batch_tokens=max(CHUNK_TOKENS, rows))
    return ExactLane(decoder, KvMemory(opened.context), rows=rows, advance=advance)


def certified_rows(spec: EngineSpec, model: Any, *, tokens_count: int) -> int:
    """Up to how many rows scores are those of a lone run; 0 when that was not found out within the time allowed."""
    if spec.determinism_probe_s <= 0:
        return 0
    key = hashlib.sha256(
        f"{prefix_identity(spec, gguf_path(spec))} threads {spec.threads_count} form 1"
        f" within {spec.determinism_probe_s}".encode()
    ).hexdigest()
    kept = Path(spec.prefix_dir, ROWS_NAME)
    if spec.prefix_dir and (known := _read(kept, key)) is not None:
        return known
    try:
        rows = _Probe(spec, model, tokens_count=tokens_count).rows()
    except _LateError:
        rows = 0  # kept too: it would be late again
    if spec.prefix_dir:
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_durably(kept, json.dumps({"key": key, "rows": rows}).encode())
    return rows


def _read(path: Path, key: str) -> int | None:
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    rows = record.get("rows") if isinstance(record, dict) and record.get("key") == key else None
    return rows if isinstance(rows, int) and 0 <= rows <= ROWS_LIMIT else None


class _Probe:
    """One context of `ROWS_LIMIT` sequences, for as long as the probe takes."""

    def __init__(self, spec: EngineSpec, model: Any, *, tokens_count: int) -> None:
        self._end_s = time.monotonic() + spec.determinism_probe_s
        length = _SHARED_TOKENS + _OWN_TOKENS + _STEPS_COUNT
        self._opened = open_exact(
            spec, model, context_tokens=length + CHUNK_TOKENS, rows=ROWS_LIMIT, chunk_tokens=CHUNK_TOKENS
        )
        self._memory = KvMemory(self._opened.context)
        self._decoder = Decoder(self._opened.context, batch_tokens=CHUNK_TOKENS)
        chance = np.random.default_rng(0)  # the same tokens each time
        self._shared = chance.integers(0, tokens_count, _SHARED_TOKENS).tolist()
        self._own = chance.integers(0, tokens_count, (ROWS_LIMIT, _OWN_TOKENS + _STEPS_COUNT)).tolist()
        self._tokens_count = tokens_count

    def rows(self) -> int:
        """The largest number of rows that leaves all scores as they are."""
        try:
            began_s = time.monotonic()
            for start in range(0, _SHARED_TOKENS, CHUNK_TOKENS):
                self._compute({0: self._shared[start : start + CHUNK_TOKENS]}, start)
                if began_s + _CHUNKS_COUNT * (time.monotonic() - began_s) > self._end_s and start == 0:
                    raise _LateError  # hopeless: no need to use the time up
            self._start_state = self._memory.save(0)
            alone = [self._run([row])[0] for row in range(ROWS_LIMIT)]
            for count in (ROWS_LIMIT, ROWS_LIMIT // 2, 1):  # one row: a lone run that repeats itself
                together = self._run(list(range(count)))
                if all(np.array_equal(one, other) for one, other in zip(alone, together, strict=False)):
                    return count
            return 0
        finally:
            self._opened.free()

    def _run(self, rows: list[int]) -> list[Any]:
        """The scores of each of these continuations, computed together."""
        for row in rows:
            self._memory.forget(row, 0)
            if not self._memory.restore(row, self._start_state):
                raise _LateError
        scores: dict[int, list[Any]] = {
            row: [self._compute({row: self._own[row][:_OWN_TOKENS]}, _SHARED_TOKENS)[row]] for row in rows
        }
        for step in range(_OWN_TOKENS, _OWN_TOKENS + _STEPS_COUNT):
            computed = self._compute({row: [self._own[row][step]] for row in rows}, _SHARED_TOKENS + step)
            for row in rows:
                scores[row].append(computed[row])
        for row in rows:
            self._memory.forget(row, 0)
        return [np.stack(scores[row]) for row in rows]

    def _compute(self, parts: dict[int, list[int]], position: int) -> dict[int, Any]:
        if time.monotonic() > self._end_s:
            raise _LateError
        shares = [Share(row, position, len(part), wants_scores=True) for row, part in parts.items()]
        if self._decoder.decode(shares, list(parts.values())) is not Outcome.DONE:
            raise _LateError
        scores, last = {}, -1
        for row, part in parts.items():
            last += len(part)
            scores[row] = self._opened.scores(last, self._tokens_count)
        return scores
