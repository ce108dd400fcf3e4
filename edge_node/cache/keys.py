"""Which requests have one right answer, and the key under which it is kept.

A key covers all that the answer depends on: the release's bytes, the engine's build and settings, whose request it
is, and the request with every default said. What cannot change the answer is left out: ids, and with temperature 0
all that only chance would use.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from edge_node.engines import Sampling
from registry.wire import to_msgpack

if TYPE_CHECKING:
    from msgspec import Struct

    from edge_node.engines import Generate

_DEFAULTS = Sampling()


def is_repeatable(command: Generate) -> bool:
    """Whether asking again is meant to give the same answer: nothing is left to chance, or its seed is given.

    The rest of an answer that was cut off is no answer to keep.
    """
    if command.resume is not None:
        return False
    return command.sampling.temperature == 0 or command.sampling.seed is not None


def generation_key(stamp: str, client: str, command: Generate) -> bytes:
    """The key of a generation's answer; `stamp` says what answers (`edge_node.residents.Lease`)."""
    sampling = msgspec.structs.replace(
        command.sampling, logit_bias=dict(sorted(command.sampling.logit_bias.items()))
    )
    if sampling.temperature == 0:
        # The most probable token is the same with any of these.
        sampling = msgspec.structs.replace(
            sampling, seed=None, top_p=_DEFAULTS.top_p, top_k=_DEFAULTS.top_k, min_p=_DEFAULTS.min_p
        )
    plain = msgspec.structs.replace(
        command, request_id="", client="", reports_progress=False, sampling=sampling
    )
    return pure_key(stamp, client, plain)


def pure_key(stamp: str, client: str, command: Struct) -> bytes:
    """The key of a command's answer where the command, its id emptied, says everything that it depends on."""
    return digest(stamp.encode(), client.encode(), type(command).__name__.encode(), to_msgpack(command))


def digest(*parts: bytes) -> bytes:
    """A name for these parts in this order, wherever one ends and the next begins."""
    hasher = hashlib.sha256()
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.digest()
