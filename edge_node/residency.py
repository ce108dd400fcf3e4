"""Which releases leave memory so that another can come in: pure decisions about a budget of bytes.

Nothing that answers is ever unloaded. Idle releases go first, the longest unused of them; when they are not enough,
busy ones are told to give way: they take no new requests, finish those they have, and are idle then. A busy
release has the memory for `TURN_S` at least, so that two models that are both in demand take turns and do not
spend their time loading.
"""

from __future__ import annotations

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
        movable: it is neither being loaded nor on its way out already.
    """

    key: ReleaseKey
    memory_bytes: int
    holders_count: int
    used_at_s: float
    loaded_at_s: float
    movable: bool = True


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
        key=lambda occupant: (occupant.key != replaced, occupant.used_at_s, occupant.key),
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
