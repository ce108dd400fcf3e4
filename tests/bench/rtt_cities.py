"""Real round trips between cities, cleaned: what routing is judged on.

Read from `../shared/data/rtt` beside the repository, or where EDGEWARD_RTT_DATA says. Any set in this form will do:

    rtts.csv      milliseconds from the client of the row to the site of the column, names in the first row and column;
                  a field may be empty, the two directions may differ, names without a row or a place are left out
    places.csv    a row for each name, with the columns name, country, latitude, longitude; more do no harm

The set that figures are required on has them as `wonderproxy.csv` and `wonder-servers-2020-07-19.csv`.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from origin.api import Place
from origin.geo.distance import distance_km, least_rtt_ms

_FORMS = (("rtts.csv", "places.csv"), ("wonderproxy.csv", "wonder-servers-2020-07-19.csv"))
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
    if _files(folder()):
        return ""
    return f"no {' and '.join(_FORMS[0])} in {folder().name}: set EDGEWARD_RTT_DATA"


def _files(where):
    pairs = [tuple(where / name for name in names) for names in _FORMS]
    return next((pair for pair in pairs if all(path.is_file() for path in pair)), None)


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


def read_cities(where=None):
    """The cleaned set of a folder, the usual one unless told."""
    matrix, listed = _files(folder() if where is None else where)
    with listed.open(encoding="utf-8") as file:
        places_of = {
            row["name"]: (Place(float(row["latitude"]), float(row["longitude"])), row["country"])
            for row in csv.DictReader(file)
        }
    with matrix.open(encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    columns = {name.strip(): at for at, name in enumerate(header) if at and name.strip()}
    lines = {row[0].strip(): row for row in rows if row}
    names = [name for name in columns if name in lines and name in places_of]
    rtts_ms = [[_ms(lines[a], columns[b]) for b in names] for a in names]
    count = len(names)
    places = [places_of[name][0] for name in names]
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
        tuple(places_of[names[a]][1] for a in kept),
        tuple(tuple(None if a == b or impossible[a][b] else rtts_ms[a][b] for b in kept) for a in kept),
        sum(impossible[a][b] for a in kept for b in kept) // 2,
        tuple(names[a] for a in dropped),
    )


def _ms(line, at):
    return float(line[at]) if at < len(line) and line[at].strip() else None
