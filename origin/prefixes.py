"""Prefixes: what a prompt begins with, as a few keyed numbers that a node's sketch can be asked for.

A prompt is cut at marks, ever further apart, and the text up to each mark is one number of 32 bits: BLAKE2b (RFC
7693) under the fleet's salt and the client's name, so that neither a heartbeat nor a log tells a prompt to anyone
without the salt, and clients do not share what nodes do not share among them. A node keeps the numbers of what it
has read lately and reports them as its sketch; whoever routes works out the same numbers of a request and knows how
much of it each node has read. Two prompts with the same beginning have the same first numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

EVERYBODY = "*"
"""The client of prompts that nodes keep for all: those whose reading a release brings."""
BLOCK_BYTES = 256
"""The first marks are so far apart; shorter stretches are read about as fast as they are looked up."""
_MARKS_AN_OCTAVE = 4
MARKS_LIMIT_COUNT = 48
MARKED_LIMIT_BYTES = 256 * 1024
"""What lies behind is not marked: contexts at the edge hold less."""
SKETCH_LIMIT_COUNT = 512
_NUMBER_BYTES = 4


class Mark(NamedTuple):
    """One beginning of a prompt: its number, and its length."""

    number: int
    end_bytes: int


class Marks(NamedTuple):
    """The beginnings of a prompt as its client's, and as one that everybody may share."""

    own: tuple[Mark, ...] = ()
    everybody: tuple[Mark, ...] = ()


def marks_of(text: bytes, *, salt: bytes, client: str, model: str) -> Marks:
    """Both kinds of marks of a prompt, of at most `MARKED_LIMIT_BYTES`; arguments as for `prompt_marks`."""
    text = text[:MARKED_LIMIT_BYTES]
    return Marks(
        prompt_marks(text, salt=salt, client=client, model=model),
        prompt_marks(text, salt=salt, client=EVERYBODY, model=model),
    )


def client_name(authorization: str) -> str:
    """A name for whoever holds what an `Authorization` header says, which does not tell it; empty without one."""
    if not authorization:
        return ""
    key = authorization.encode("utf-8", "surrogateescape")
    return hashlib.sha256(b"edgeward client " + key).hexdigest()[:32]


def prompt_marks(text: bytes, *, salt: bytes, client: str, model: str) -> tuple[Mark, ...]:
    """The beginnings of a prompt, the shortest first; a prompt below one block has none.

    Marks stand 1, 2, 3, … 8 blocks after the start, then four to each doubling, so that a long prompt has few and at
    most a fifth of what is shared lies past the last mark that two prompts share.

    The salt is the fleet's, at most 64 bytes; `client` says whose prompt it is, under the name that the node knows it
    by; `model` is a name without version.
    """
    running = hashlib.blake2b(
        f"{client}\0{model}\0".encode(errors="surrogatepass"), key=salt, digest_size=_NUMBER_BYTES
    )
    marks = []
    start_bytes = 0
    for end_bytes in _mark_ends(len(text)):
        running.update(text[start_bytes:end_bytes])
        start_bytes = end_bytes
        marks.append(Mark(int.from_bytes(running.copy().digest(), "little"), end_bytes))
    return tuple(marks)


def pack_sketch(numbers: Iterable[int]) -> bytes:
    """A node's sketch as it travels: the numbers in order of size."""
    return b"".join(number.to_bytes(_NUMBER_BYTES, "little") for number in sorted(set(numbers)))


def unpack_sketch(sketch: bytes) -> frozenset[int]:
    """The numbers of a sketch; of one too long for a sound node, or cut off in the middle, none."""
    if len(sketch) % _NUMBER_BYTES or len(sketch) > SKETCH_LIMIT_COUNT * _NUMBER_BYTES:
        return frozenset()
    return frozenset(
        int.from_bytes(sketch[start : start + _NUMBER_BYTES], "little")
        for start in range(0, len(sketch), _NUMBER_BYTES)
    )


def kept_bytes(marks: Iterable[Mark], kept: frozenset[int]) -> int:
    """How much of a prompt lies in a sketch: up to the last mark before the first that is missing."""
    end_bytes = 0
    for mark in marks:
        if mark.number not in kept:
            break
        end_bytes = mark.end_bytes
    return end_bytes


def _mark_ends(length_bytes: int) -> list[int]:
    ends: list[int] = []
    block, step = 1, 1
    while block * BLOCK_BYTES <= length_bytes and len(ends) < MARKS_LIMIT_COUNT:
        ends.append(block * BLOCK_BYTES)
        if block >= 2 * _MARKS_AN_OCTAVE * step:
            step *= 2
        block += step
    return ends
