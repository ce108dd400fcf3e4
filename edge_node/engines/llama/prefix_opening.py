"""Which store of prefixes a context gets, by what its memory can do and what the node allows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edge_node.engines.llama.library import gguf_path
from edge_node.engines.llama.prefix_disk import PrefixDisk, published
from edge_node.engines.llama.prefix_identity import prefix_identity
from edge_node.engines.llama.prefixes import PrefixStore, RememberedSequences
from edge_node.engines.llama.radix_prefixes import RadixPrefixes

if TYPE_CHECKING:
    from edge_node.engines.llama.sequences import Sequences
    from edge_node.engines.llama.slots import Slot
    from edge_node.engines.spec import EngineSpec


class OpenStore(NamedTuple):
    """A store, and how many of the release's own prefixes it can use and cannot.

    Attributes:
        scratch: a sequence that is empty between two calls, where cells can be moved through one.
    """

    store: PrefixStore
    scratch: Slot | None = None
    usable_count: int = 0
    unusable_count: int = 0


def open_store(spec: EngineSpec, sequences: Sequences, *, slots_count: int, copies_parts: bool) -> OpenStore:
    """The store for these sequences; a memory that cannot be cut in parts keeps whole sequences, in cells only."""
    # For each generation its own sequence and one that it began with; one more to bring prefixes back through.
    if not copies_parts or len(sequences.slots) < 2 * slots_count + 2:
        return OpenStore(RememberedSequences(sequences, copies_parts=copies_parts))
    identity = prefix_identity(spec, gguf_path(spec))
    usable, unusable_count = published(Path(spec.model_dir), spec.files, identity=identity)
    keeps = bool(spec.prefix_dir and spec.prefix_limit_bytes)
    store = RadixPrefixes(
        sequences,
        memory_limit_bytes=spec.prefix_memory_bytes,
        disk=PrefixDisk(Path(spec.prefix_dir), identity=identity) if keeps else None,
        disk_limit_bytes=spec.prefix_limit_bytes,
        published=usable,
    )
    return OpenStore(store, store.scratch, len(usable), unusable_count)
