"""Challenges: numbers that a proof must name, each good once, for a minute, at the origin that gave it; pure.

What was given is not remembered, so that strangers who ask for many cost no memory: a challenge carries its end and a
MAC by a key of this process. What was used is, until its time is over.
"""

from __future__ import annotations

import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode

from origin.errors import ChallengeInvalidError

TTL_S = 60.0
CHANCE_BYTES = 16
_MAC_BYTES = 32


class Challenges:
    """The challenges of one origin.

    Args:
        key: 32 random bytes, of this process alone: a challenge is good at no other.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._used: dict[str, float] = {}

    def give(self, chance: bytes, now_unix_s: float) -> str:
        """A new one; `chance` is 16 random bytes."""
        said = struct.pack(">d", now_unix_s + TTL_S) + chance
        return urlsafe_b64encode(said + self._mac(said)).rstrip(b"=").decode()

    def take(self, challenge: str, now_unix_s: float) -> None:
        """Use one up.

        Raises:
            ChallengeInvalidError: it is none of ours, was used before, or its minute is over.
        """
        self._forget(now_unix_s)
        try:
            whole = urlsafe_b64decode(challenge + "=" * (-len(challenge) % 4))
        except ValueError:
            whole = b""
        said, mac = whole[:-_MAC_BYTES], whole[-_MAC_BYTES:]
        if len(said) != 8 + CHANCE_BYTES or not hmac.compare_digest(mac, self._mac(said)):
            raise ChallengeInvalidError("this origin gave no such challenge: ask it for one, and sign that")
        (ends_unix_s,) = struct.unpack(">d", said[:8])
        if not now_unix_s < ends_unix_s <= now_unix_s + TTL_S:
            raise ChallengeInvalidError(f"the challenge was good for {TTL_S:.0f} s: ask for another")
        name = said.hex()  # base64 has several spellings of the same bytes
        if name in self._used:
            raise ChallengeInvalidError("this challenge was used before: each proof needs another one")
        self._used[name] = ends_unix_s

    def _mac(self, said: bytes) -> bytes:
        return hmac.digest(self._key, said, "sha256")

    def _forget(self, now_unix_s: float) -> None:
        """They are kept in the order of their use, and end nearly so: those over at the front go."""
        while self._used:
            first = next(iter(self._used))
            if self._used[first] > now_unix_s:
                return
            del self._used[first]
