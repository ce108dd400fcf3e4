"""Real round trips between cities, cleaned: what routing is judged on.

Read from `../shared/data/rtt` beside the repository, or where EDGEWARD_RTT_DATA says: a symmetric matrix of
milliseconds (`wonderproxy.csv`: names in the first row and column) and the coordinates of its names
(`wonder-servers-2020-07-19.csv`: name, country, latitude, longitude). Any other set in this form will do.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from origin.api import Place
from origin.geo.distance import distance_km, least_rtt_ms

MATRIX = "wonderproxy.csv"
PLACES = "wonder-servers-2020-07-19.csv"
_IMPOSSIBLE_LIMIT_COUNT = 10
"""A city with more impossible pairs than this is not where the list says."""


def folder():
    """Where the data are, whether they are there or not."""
    named = os.environ.get("EDGEWARD_RTT_DATA")
    if named:
        return Path(named)
    # A worktree may lie deeper than the repository it belongs to.
    for parent in Path(__file__).resolve().parents:
        found = parent.parent / "shared" / "data" / "rtt"
        if found.is_dir():
            return found
    return Path(__file__).resolve().parents[3] / "shared" / "data" / "rtt"


def missing():
    """Why there is nothing to read, or an empty text."""
    absent = [name for name in (MATRIX, PLACES) if not (folder() / name).is_file()]
    return f"{', '.join(absent)} not found in {folder().name}: set EDGEWARD_RTT_DATA" if absent else ""


@dataclass(frozen=True)
class Cities:
    """`rtts_ms[a][b]` is None for a city and itself, and for pairs that are faster than light."""

    names: tuple[str, ...]
    places: tuple[Place, ...]
    countries: tuple[str, ...]
    rtts_ms: tuple[tuple[float | None, ...], ...]
    masked_count: int
    dropped: tuple[str, ...]

    def weights(self, indices):
        """Each country counts once, however many of its cities are listed."""
        sizes = Counter(self.countries[i] for i in indices)
        return [1 / sizes[self.countries[i]] for i in indices]


def read_cities():
    """The cleaned set."""
    with (folder() / PLACES).open(encoding="utf-8") as file:
        where = {
            row["name"]: (Place(float(row["latitude"]), float(row["longitude"])), row["country"])
            for row in csv.DictReader(file)
        }
    with (folder() / MATRIX).open(encoding="utf-8") as file:
        rows = list(csv.reader(file))
    names = [name for name in rows[0][1:] if name]
    rtts_ms = [[float(cell) if cell else None for cell in row[1 : len(names) + 1]] for row in rows[1:]]
    count = len(names)
    places = [where[name][0] for name in names]
    impossible = [
        [
            rtts_ms[a][b] is not None and rtts_ms[a][b] < least_rtt_ms(distance_km(places[a], places[b]))
            for b in range(count)
        ]
        for a in range(count)
    ]
    dropped = [a for a in range(count) if sum(impossible[a]) > _IMPOSSIBLE_LIMIT_COUNT]
    kept = [a for a in range(count) if a not in dropped]
    return Cities(
        tuple(names[a] for a in kept),
        tuple(places[a] for a in kept),
        tuple(where[names[a]][1] for a in kept),
        tuple(tuple(None if a == b or impossible[a][b] else rtts_ms[a][b] for b in kept) for a in kept),
        sum(impossible[a][b] for a in kept for b in kept) // 2,
        tuple(names[a] for a in dropped),
    )
