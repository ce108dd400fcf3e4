"""What a node should do next, given what is wanted, what lies on its disk and what its engines hold.

Level-triggered: the plan is made anew from the whole situation each time anything changes, so a lost step, a
crash or a changed mind of the origin needs no case of its own. `sync` carries plans out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from origin.api import WantedRelease

ReleaseKey = tuple[str, str]
"""A release's name and version."""

ResidentState = Literal["asleep", "loading", "ready", "failed", "retiring"]
"""A release that sleeps is served from the disk: it is loaded when somebody asks for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """All that a plan depends on.

    Attributes:
        wanted: what the origin said last; None when it has never said.
        present: releases whole on the disk, each with the sha256 of its manifest.
        resident: what the runner holds.
        current: for each model the version that new requests get.
        served: for each model the versions that served, the latest first; survives restarts.
        fetching, activating: work under way.
        wait_until_s: releases that failed, and when to try again.
        unwanted_since_s: models on the disk that are not wanted any more.
        disk_full: a fetch has just failed for want of room.
    """

    now_s: float
    wanted: tuple[WantedRelease, ...] | None
    present: Mapping[ReleaseKey, str] = field(default_factory=dict)
    resident: Mapping[ReleaseKey, ResidentState] = field(default_factory=dict)
    current: Mapping[str, str] = field(default_factory=dict)
    served: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fetching: AbstractSet[ReleaseKey] = frozenset()
    activating: AbstractSet[ReleaseKey] = frozenset()
    wait_until_s: Mapping[ReleaseKey, float] = field(default_factory=dict)
    unwanted_since_s: Mapping[str, float] = field(default_factory=dict)
    unwanted_keep_s: float = 3600.0
    disk_full: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Steps to begin now; they do not depend on one another.

    Attributes:
        fetch: bring onto the disk.
        activate: load, and switch new requests over.
        retire: unload once running answers are done.
        remove: delete from the disk.
        cancel: stop fetching.
        look_again_s: the time at which waiting alone changes the plan; None when it does not.
    """

    fetch: tuple[WantedRelease, ...] = ()
    activate: tuple[ReleaseKey, ...] = ()
    retire: tuple[ReleaseKey, ...] = ()
    remove: tuple[ReleaseKey, ...] = ()
    cancel: tuple[ReleaseKey, ...] = ()
    look_again_s: float | None = None


def plan(situation: Situation) -> Plan:
    """The steps that bring the node nearer to what is wanted, without taking away what serves."""
    wanted = _by_name(situation)
    if wanted is None:  # never told: serve what served last, and touch nothing else
        return Plan(activate=_stopgaps(situation, tuple(situation.served)))
    keys = {(release.name, release.version) for release in wanted.values()}
    behind = tuple(name for name, release in wanted.items() if not _on_disk(situation, release))
    return Plan(
        fetch=tuple(release for release in wanted.values() if _should_fetch(situation, release)),
        activate=(
            *(key for key in sorted(keys) if _should_activate(situation, key)),
            *_stopgaps(situation, behind),
        ),
        retire=tuple(key for key in sorted(situation.resident) if _should_retire(situation, wanted, key)),
        remove=tuple(key for key in sorted(situation.present) if _should_remove(situation, wanted, key)),
        cancel=tuple(sorted(situation.fetching - keys)),
        look_again_s=_look_again_s(situation, wanted, keys),
    )


def served_after(
    served: Mapping[str, tuple[str, ...]], current: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """For each model the versions that served, when these serve now: the present one and the one before."""
    after = dict(served)
    for name, version in current.items():
        after[name] = (version, *(old for old in served.get(name, ()) if old != version))[:2]
    return after


def _by_name(situation: Situation) -> dict[str, WantedRelease] | None:
    if situation.wanted is None:
        return None
    by_name: dict[str, WantedRelease] = {}
    for release in situation.wanted:  # a node serves one version of a model; the first said counts
        by_name.setdefault(release.name, release)
    return by_name


def _on_disk(situation: Situation, release: WantedRelease) -> bool:
    return situation.present.get((release.name, release.version)) == release.manifest_sha256


def _waits(situation: Situation, key: ReleaseKey) -> bool:
    busy = key in situation.fetching or key in situation.activating
    return busy or situation.wait_until_s.get(key, 0.0) > situation.now_s


def _should_fetch(situation: Situation, release: WantedRelease) -> bool:
    return not _on_disk(situation, release) and not _waits(situation, (release.name, release.version))


def _should_activate(situation: Situation, key: ReleaseKey) -> bool:
    # A release whose manifest differs from the wanted one is being replaced; until then it serves as it is.
    if key not in situation.present or _waits(situation, key):
        return False
    state = situation.resident.get(key)
    left_aside = state in {"asleep", "ready"} and situation.current.get(key[0]) != key[1]
    return state is None or state == "retiring" or left_aside


def _stopgaps(situation: Situation, names: tuple[str, ...]) -> tuple[ReleaseKey, ...]:
    """For models whose wanted release is not here yet and that nothing serves: what served last."""
    idle = (name for name in names if name not in situation.current)
    first = (
        next(
            (
                key
                for version in situation.served.get(name, ())
                if (key := (name, version)) in situation.present
            ),
            None,
        )
        for name in idle
    )
    return tuple(key for key in first if key is not None and not _waits(situation, key))


def _should_retire(situation: Situation, wanted: Mapping[str, WantedRelease], key: ReleaseKey) -> bool:
    name, version = key
    if situation.resident[key] == "retiring":
        return False
    if name not in wanted:
        return True
    return version not in {wanted[name].version, situation.current.get(name)}


def _should_remove(situation: Situation, wanted: Mapping[str, WantedRelease], key: ReleaseKey) -> bool:
    name, version = key
    if key in situation.resident or key in situation.fetching or key in situation.activating:
        return False
    if name not in wanted:
        since_s = situation.unwanted_since_s.get(name, situation.now_s)
        return situation.disk_full or situation.now_s - since_s >= situation.unwanted_keep_s
    if version == wanted[name].version:
        return False
    # Older releases are sources of chunks for the fetch, and a way back, until the wanted one serves.
    goal = wanted[name].version
    settled = situation.current.get(name) == goal and situation.resident.get((name, goal)) in {
        "asleep",
        "ready",
    }
    way_back = situation.served.get(name, ())[: 1 if situation.disk_full else 2]
    return version not in way_back and (settled or situation.disk_full)


def _look_again_s(
    situation: Situation, wanted: Mapping[str, WantedRelease], keys: AbstractSet[ReleaseKey]
) -> float | None:
    due = [
        until_s
        for key, until_s in situation.wait_until_s.items()
        if key in keys and until_s > situation.now_s
    ]
    due += [
        since_s + situation.unwanted_keep_s
        for name, since_s in situation.unwanted_since_s.items()
        if name not in wanted and since_s + situation.unwanted_keep_s > situation.now_s
    ]
    return min(due, default=None)
