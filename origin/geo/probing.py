"""Which nodes a client should measure: those that are expected to lower the least round trip it knows the most.

Not simply the nodes with the least guesses: two that are wrong together are worth one probe, and one that is slower
on average but uncertain may be worth more than both. So guesses are tried against scenarios: the misses of guesses
at other places, each a whole row, so that nodes that are wrong together stay so. Nodes are picked one by one, each
the one that lowers the least of the picked ones the most on average over scenarios; the gain is submodular, so this
is within 1 - 1/e of the best set (G. Nemhauser, L. Wolsey, M. Fisher, Mathematical Programming 14, 1978).

Scenarios of places nearby count for more, since networks are wrong in the same way around there. So do those that agree
with what the client has measured already: a second list of probes learns from the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_FEWEST_COUNT = 8
"""With fewer scenarios than this the guesses are all there is to go by."""
_LIKE_COUNT = 5
"""The scale of agreement is that of the fifth best, so that a handful of scenarios always counts."""
_CLOSE_MS = 2.0
_UNKNOWN_MS = 60_000.0
_WORTH_MS = 0.5
"""Who has measured some nodes is not asked to measure another for less than this."""


def probes(
    guessed_ms: Floats,
    misses_ms: Floats,
    left_over_ms: Floats,
    measured_ms: Mapping[int, float],
    limit_count: int,
    counts: Floats | None = None,
) -> list[int]:
    """The nodes to probe, as indices, the most useful first; never one that is measured.

    Args:
        guessed_ms: the guess for each node.
        misses_ms: scenarios by nodes, NaN where unknown (`RttSurface.misses`).
        left_over_ms: misses to expect of nodes that nobody has measured.
        measured_ms: what the client has measured, by index.
        limit_count: how many at most.
        counts: how much each scenario counts; all the same unless told.
    """
    scenarios = _scenarios(guessed_ms, misses_ms, left_over_ms)
    weights = likeness(scenarios, measured_ms)
    if counts is not None and len(counts) == len(weights):  # else there are too few, and guesses alone
        weights = weights * counts / (weights @ counts)
    for index, rtt_ms in measured_ms.items():
        scenarios[:, index] = rtt_ms
    least = np.full(len(scenarios), min(measured_ms.values(), default=_UNKNOWN_MS))
    taken, picked = set(measured_ms), list[int]()
    while len(picked) < min(limit_count, len(guessed_ms) - len(measured_ms)):
        expected = weights @ np.minimum(scenarios, least[:, None])
        # Where no node promises anything more, the least guess is as good as any.
        order = np.lexsort((guessed_ms, expected))
        best = next(int(index) for index in order if int(index) not in taken)
        if measured_ms and weights @ least - expected[best] < _WORTH_MS:
            break
        taken.add(best)
        picked.append(best)
        least = np.minimum(least, scenarios[:, best])
    return picked


def likeness(scenarios: Floats, measured_ms: Mapping[int, float]) -> Floats:
    """How much each scenario counts, 1 in all: the more, the nearer it is to what was measured."""
    weights = np.full(len(scenarios), 1 / len(scenarios))
    if measured_ms:
        off = scenarios[:, list(measured_ms)] - np.array(list(measured_ms.values()))
        off_ms = np.abs(off).mean(axis=1)
        scale_ms = np.sort(off_ms)[min(_LIKE_COUNT, len(off_ms) - 1)] + _CLOSE_MS
        weights = np.exp(-off_ms / scale_ms) + 1e-12
    total: Floats = weights / weights.sum()
    return total


def filled(misses_ms: Floats, left_over_ms: Floats) -> Floats:
    """Misses with every gap filled with the same node's miss in another scenario (hot deck imputation).

    Where there is none, with what is left over of other nodes.
    """
    found = misses_ms.copy()
    for column in np.flatnonzero(np.isnan(found).any(axis=0)):
        gaps = np.flatnonzero(np.isnan(found[:, column]))
        known = found[~np.isnan(found[:, column]), column]
        source = known if len(known) else left_over_ms[column:]
        found[gaps, column] = source[gaps % len(source)] if len(source) else 0.0
    return found


def _scenarios(guessed_ms: Floats, misses_ms: Floats, left_over_ms: Floats) -> Floats:
    """What the round trips may be: the guesses with each scenario's misses."""
    if len(misses_ms) < _FEWEST_COUNT:
        return guessed_ms[None, :].copy()
    scenarios: Floats = np.maximum(guessed_ms + filled(misses_ms, left_over_ms), 0.0)
    return scenarios
