"""The keys that an origin signs tickets with: made in memory, replaced daily, told before they are used.

A route key is never written to a disk: a ticket lives a minute, so an origin that starts anew makes a new key, and the
nodes hear of it with their next heartbeat. A new key is told for a while before anything is signed with it, and an old
one for as long as its last ticket lives. Where several origins share a fleet, each tells the others its public keys,
and its nodes all of them (`origin.sharing`).

Nothing here reads a clock: `now_s` is the caller's, from a clock that does not go back.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from origin.tickets import LIFE_LIMIT_S, Signer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from origin.tickets import Ticket

KEY_LIFE_S = 86_400.0
TOLD_AHEAD_S = 10.0
"""Ten heartbeats of a second: whoever missed all of them is down."""
TOLD_AFTER_S = 2 * LIFE_LIMIT_S


class _Key(NamedTuple):
    signer: Signer
    made_s: float


class RouteKeys:
    """One origin's route keys.

    Args:
        fresh_seed: 32 random bytes at each call.
    """

    def __init__(self, fresh_seed: Callable[[], bytes]) -> None:
        self._fresh_seed = fresh_seed
        self._keys: deque[_Key] = deque()

    def sign(self, tickets: Sequence[Ticket], now_s: float) -> list[str]:
        """The tickets' texts, signed at once with the newest key that nodes have been told of for long enough.

        Raises:
            ValueError: none, or more than `SIGNED_LIMIT_COUNT`.
        """
        self._turn(now_s)
        told = (key for key in reversed(self._keys) if now_s - key.made_s >= TOLD_AHEAD_S)
        return next(told, self._keys[0]).signer.sign(tickets)

    def public_keys(self, now_s: float) -> tuple[bytes, ...]:
        """The public keys that nodes may believe now; the other origins tell theirs the same."""
        self._turn(now_s)
        return tuple(key.signer.public_key for key in self._keys)

    def _turn(self, now_s: float) -> None:
        if not self._keys or now_s - self._keys[-1].made_s >= KEY_LIFE_S:
            self._keys.append(_Key(Signer(self._fresh_seed()), now_s))
        while len(self._keys) > 1 and now_s - self._keys[1].made_s > TOLD_AHEAD_S + TOLD_AFTER_S:
            self._keys.popleft()
