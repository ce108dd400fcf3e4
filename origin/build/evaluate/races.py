"""Races: two models at the same work in turns, and how many times as fast one of them is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from origin.build.evaluate.intervals import median_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from origin.build.evaluate.figures import Figure

Lap = TypeVar("Lap")

ROUNDS_COUNT = 7


class Raced(msgspec.Struct, Generic[Lap], frozen=True, kw_only=True):
    """Laps of both, round by round."""

    candidate: list[Lap]
    sibling: list[Lap]


def race_in_turns(
    rounds_count: int, lap: Callable[[int, int], Lap], report: Callable[[int, int], None]
) -> Raced[Lap]:
    """Let both do a lap in each round, the first one last in the next.

    `lap` is given whose it is, 0 for the candidate and 1 for the sibling, and the number of the round.
    """
    laps: tuple[list[Lap], list[Lap]] = ([], [])
    for done in range(rounds_count):
        report(done, rounds_count)
        for index in (0, 1) if done % 2 else (1, 0):
            laps[index].append(lap(index, done))
    return Raced(candidate=laps[0], sibling=laps[1])


def race_figures(
    raced: Raced[Lap],
    *,
    sibling: str,
    seed: int,
    took_s: Mapping[str, Callable[[Lap], float]],
    own: Mapping[str, Callable[[Lap], float]],
) -> dict[str, Figure]:
    """`X_speedup` for each X of `took_s`, over the sibling that is called so, and the candidate's own figures.

    A speedup is the median of the rounds' quotients: what slows the machine for a while slows both laps of a round.
    """
    suffix = f"@{sibling}" if sibling else ""
    rounds = list(zip(raced.candidate, raced.sibling, strict=True))
    figures = {
        f"{name}_speedup{suffix}": median_of([of(other) / of(lap) for lap, other in rounds], seed)
        for name, of in took_s.items()
    }
    return figures | {name: median_of([of(lap) for lap in raced.candidate], seed) for name, of in own.items()}
