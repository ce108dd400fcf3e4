"""Which releases leave memory so that another can come in: pure decisions about a budget of bytes.

Nothing that answers is ever unloaded. Idle releases go first, of them those that fewest requests come for; when they
are not enough, busy ones are told to give way: they take no new requests, finish those they have, and are idle then.
A busy release has the memory for `TURN_S` at least, so that two models that are both in demand take turns and do not
spend their time loading.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from edge_node.reconcile import ReleaseKey

TURN_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupant:
    """A release in memory.

    Attributes:
        holders_count: requests that it answers now.
        used_at_s: when a request held it last.
        loaded_at_s: when it came in.
        recent_count: how many requests came for it in the time of a turn, as of `recent_at_s`.
        movable: it is neither being loaded nor on its way out already.
    """

    key: ReleaseKey
    memory_bytes: int
    holders_count: int
    used_at_s: float
    loaded_at_s: float
    movable: bool = True
    recent_count: float = 0.0
    recent_at_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What to do before a release may come in.

    Attributes:
        fits: nothing; there is room now.
        evict: unload these idle ones.
        give_way: let no new requests to these busy ones.
        look_again_s: when waiting alone changes the decision; None when it does not.
    """

    fits: bool = False
    evict: tuple[ReleaseKey, ...] = ()
    give_way: tuple[ReleaseKey, ...] = ()
    look_again_s: float | None = None


@dataclass(frozen=True, slots=True)
class Prospect:
    """What it takes until there is room.

    Attributes:
        room_s: how long that is.
        displaced_count: how many requests come, in the time of a turn, for what has to leave.
    """

    room_s: float = 0.0
    displaced_count: float = 0.0


def free_bytes(limit_bytes: int, occupants: Collection[Occupant]) -> int:
    """What is left of the budget; negative when releases turned out larger than they were thought to be."""
    return limit_bytes - sum(occupant.memory_bytes for occupant in occupants)


def make_room(
    need_bytes: int,
    *,
    limit_bytes: int,
    occupants: Sequence[Occupant],
    now_s: float,
    replaced: ReleaseKey | None = None,
) -> Room:
    """What must go so that `need_bytes` fit into `limit_bytes` (0: no limit).

    A release that is larger than the whole budget gets all of it: the limit is an estimate, and the operator
    asked for the release. `replaced`, the release whose successor comes in, goes first and has no turn to end.
    """
    missing_bytes = min(need_bytes, limit_bytes) - free_bytes(limit_bytes, occupants)
    if not limit_bytes or missing_bytes <= 0:
        return Room(fits=True)
    movable = sorted(
        (occupant for occupant in occupants if occupant.movable),
        key=lambda occupant: (
            occupant.key != replaced,
            recent_count(occupant, now_s),
            occupant.used_at_s,
            occupant.key,
        ),
    )
    idle = _enough([it for it in movable if not it.holders_count], missing_bytes)
    missing_bytes -= sum(occupant.memory_bytes for occupant in idle)
    evict = tuple(occupant.key for occupant in idle)
    if missing_bytes <= 0:
        return Room(evict=evict)
    busy = [occupant for occupant in movable if occupant.holders_count]
    due = [it for it in busy if it.key == replaced or it.loaded_at_s + TURN_S <= now_s]
    later_s = [it.loaded_at_s + TURN_S for it in busy if it not in due]
    giving = _enough(due, missing_bytes)
    enough = sum(occupant.memory_bytes for occupant in giving) >= missing_bytes
    return Room(
        evict=evict,
        give_way=tuple(occupant.key for occupant in giving),
        look_again_s=None if enough else min(later_s, default=None),
    )


def foresee(
    needs_bytes: Sequence[int], *, limit_bytes: int, occupants: Collection[Occupant], now_s: float
) -> Prospect:
    """What has to happen before the last of these has room, when they come in one after the other.

    Each takes the memory of those whose turns end first, and has a turn of its own then. What a busy release still
    works on when its turn is over is not counted: how long that takes, this cannot know.
    """
    if not limit_bytes:
        return Prospect()
    leaving = [
        (
            now_s if it.movable and not it.holders_count else max(now_s, it.loaded_at_s + TURN_S),
            recent_count(it, now_s),
            it.memory_bytes,
        )
        for it in occupants
    ]
    heapq.heapify(leaving)
    room_bytes, at_s, displaced_count = free_bytes(limit_bytes, occupants), now_s, 0.0
    for need_bytes in needs_bytes:
        displaced_count = 0.0
        while room_bytes < min(need_bytes, limit_bytes) and leaving:
            left_s, uses_count, freed_bytes = heapq.heappop(leaving)
            room_bytes, at_s = room_bytes + freed_bytes, max(at_s, left_s)
            displaced_count += uses_count
        room_bytes -= need_bytes
        heapq.heappush(leaving, (at_s + TURN_S, 0.0, need_bytes))
    return Prospect(at_s - now_s, displaced_count)


def recent_count(occupant: Occupant, now_s: float) -> float:
    """How many requests came for it in the time of a turn, as of now."""
    return faded(occupant.recent_count, now_s - occupant.recent_at_s)


def faded(count: float, past_s: float) -> float:
    """What is left of a count after a while; of arrivals that are counted so, as many as come in a turn."""
    return count * math.exp(-max(0.0, past_s) / TURN_S)


def _enough(occupants: Sequence[Occupant], missing_bytes: int) -> list[Occupant]:
    """The first of these that together free so many bytes, without those that turn out not to be needed."""
    taken: list[Occupant] = []
    for occupant in occupants:
        if missing_bytes <= 0:
            break
        taken.append(occupant)
        missing_bytes -= occupant.memory_bytes
    for occupant in list(taken):
        if occupant.memory_bytes <= -missing_bytes:
            taken.remove(occupant)
            missing_bytes += occupant.memory_bytes
    return taken
