"""The chance by which a token is drawn: a function of the answer's seed and the token's place in it, of nothing else.

A generator with a state could not be put in the middle of an answer that another process has begun: where a grammar
refuses a draw, how often it was asked is known to that process alone. After counter-based generators (Salmon et al.,
"Parallel random numbers: as easy as 1, 2, 3", SC 2011), with BLAKE2b (RFC 7693) as the mixing function.
"""

from __future__ import annotations

import hashlib
import struct

_WORDS = struct.Struct("<QQ")


def chance_of(seed: int, place: int) -> float:
    """A number from 0 up to 1, even over seeds of 64 bits (negative ones included) and places."""
    return (bits_of(seed, place) >> 11) * 2.0**-53


def bits_of(seed: int, place: int) -> int:
    """The same chance as 64 bits."""
    mixed = hashlib.blake2b(_WORDS.pack(seed % 2**64, place), digest_size=8).digest()
    return int.from_bytes(mixed, "little")
