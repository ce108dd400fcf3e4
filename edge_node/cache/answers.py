"""The answers that a node keeps: what engines said, in zstd, and the bytes of responses that are asked for again.

Two kinds of entry share one bound. A `Tape` is what an engine said, and any dialect, whole or streamed, is told
from it. A `Rendering` is one finished response body, found by the raw request, so that a repeated question is
answered without reading it; it is made when a question comes the second time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import zstandard
from msgspec import Struct

from edge_node.cache.eviction import BoundedStore
from edge_node.engines import Computed, Delta, Finished, Started
from registry.bodies import ZSTD_LEVEL
from registry.wire import from_msgpack, to_msgpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge_node.cache.terms import Terms

T = TypeVar("T", bound=Struct)

_ENTRY_BYTES = 600
"""What an entry weighs beside its bytes: objects, the key here and among the ghosts (measured: 480 to 590)."""
_UNPACKED_LIMIT_BYTES = 256 * 2**20


class Tape(Struct, frozen=True, kw_only=True):
    """A finished generation as the engine told it, and the identity that its answer was given."""

    answer_id: str
    created_unix_s: int
    started: Started
    deltas: tuple[Delta, ...]
    finished: Finished


class Outcome(Struct, frozen=True, kw_only=True):
    """What an engine computed in one piece, and the identity that its answer was given."""

    answer_id: str
    created_unix_s: int
    computed: Computed


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendering:
    """One response body as it goes out, and what must still hold for it to go.

    Attributes:
        asked: what the request called the model.
        stamp: what answered; the rendering is good while `asked` still means that.
        head: the headers that are the same for everyone, as they go over the wire.
        body: in zstd when `packed`, else plain.
        plain_bytes: the length of the plain body.
        etag: of the plain body; the packed one's ends in `-zstd`.
        streamed: the body is a stream's, which is packed on another header's word.
        stored_s: when the answer was computed, on the store's clock.
    """

    route: str
    operation: str
    asked: str
    model: str
    release: str
    stamp: str
    head: bytes
    body: bytes
    packed: bool
    plain_bytes: int
    etag: str
    streamed: bool
    stored_s: float
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Kept:
    """A message from the store, and how old it is."""

    data: bytes
    stored_s: float


@dataclass(slots=True)
class AnswerCache:
    """Kept answers.

    Args:
        limit_bytes: the room for all of them; 0 keeps nothing.
        age_limit_s: how old an answer may become: chat templates may tell the model today's date.
        clock: monotonic time in seconds.
    """

    limit_bytes: int
    age_limit_s: float
    clock: Callable[[], float]
    _entries: BoundedStore[Kept | Rendering] = field(init=False)
    _compressor: zstandard.ZstdCompressor = field(init=False)
    _decompressor: zstandard.ZstdDecompressor = field(init=False)

    def __post_init__(self) -> None:
        self._entries = BoundedStore(self.limit_bytes)
        self._compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        self._decompressor = zstandard.ZstdDecompressor()

    @property
    def on(self) -> bool:
        """Whether anything is kept at all."""
        return self.limit_bytes > 0

    @property
    def used_bytes(self) -> int:
        """What all entries weigh."""
        return self._entries.used_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def keep(self, key: bytes, message: Struct) -> None:
        """Keep what an engine said."""
        data = self._compressor.compress(to_msgpack(message))
        self._entries.put(key, Kept(data, self.clock()), len(data) + _ENTRY_BYTES)

    def find(self, key: bytes, terms: Terms, kind: type[T]) -> tuple[T, float] | None:
        """What an engine said and how old it is in seconds, if the terms allow it."""
        kept = self._entries.get(key)
        if not isinstance(kept, Kept):
            return None
        age_s = self.clock() - kept.stored_s
        if age_s > self.age_limit_s:
            self._entries.discard(key)
            return None
        if terms.max_age_s is not None and not age_s < terms.max_age_s:
            return None
        return from_msgpack(self._unpacked(kept.data), kind), age_s

    def keep_rendering(self, key: bytes, rendering: Rendering) -> None:
        """Keep a response's body."""
        self._entries.put(key, rendering, len(rendering.body) + len(rendering.head) + _ENTRY_BYTES)

    def rendering(self, key: bytes, now_s: float) -> Rendering | None:
        """A response's body, unless it is too old."""
        found = self._entries.get(key)
        if not isinstance(found, Rendering):
            return None
        if now_s - found.stored_s > self.age_limit_s:
            self._entries.discard(key)
            return None
        return found

    def plain(self, rendering: Rendering) -> bytes:
        """A rendering's body for a client that does not read zstd."""
        return self._unpacked(rendering.body) if rendering.packed else rendering.body

    def pack(self, body: bytes) -> bytes:
        """A body in zstd."""
        return self._compressor.compress(body)

    def _unpacked(self, data: bytes) -> bytes:
        return self._decompressor.decompress(data, max_output_size=_UNPACKED_LIMIT_BYTES)
