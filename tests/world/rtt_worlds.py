"""Worlds of cities and the round trips between them: measured ones, read where they are kept, and made-up ones.

The measured set is WonderNetwork's pings between 217 cities. It is no part of this repository: it is looked for beside
it, or where EDGEWARD_RTT_DATA says, and cleaned as its description asks. A made-up world has what makes real ones hard:
traffic between some pairs of places takes a detour by a third, so that the nearest is not the one that answers first.
"""

from __future__ import annotations

import csv
import math
import os
import random
from dataclasses import dataclass
from pathlib import Path

from origin.api import Place
from origin.geo.distance import distance_km

_LIGHT_MS_PER_KM = 2 / 299.792458
_DROPPED = {"LaCeiba", "Dagupan"}
_NORTH_AMERICA = {"United States", "Canada", "Mexico"}


@dataclass(frozen=True)
class City:
    name: str
    country: str
    place: Place


@dataclass(frozen=True)
class RttWorld:
    """Cities and the RTT in ms between each two of them; None where no sound one is known."""

    cities: tuple[City, ...]
    rtt_ms: tuple[tuple[float | None, ...], ...]

    def index(self, name):
        return next(number for number, city in enumerate(self.cities) if city.name == name)

    def in_north_america(self, number):
        city = self.cities[number]
        # The made-up world has no countries: its west is as good.
        return city.country in _NORTH_AMERICA or (city.country == "" and city.place.lon < -60)


def data_directory():
    """Where the measured round trips are, if they are anywhere."""
    stated = os.environ.get("EDGEWARD_RTT_DATA")
    roots = [Path(stated)] if stated else [
        parent / "shared" / "data" / "rtt" for parent in Path(__file__).resolve().parents
    ]  # fmt: skip
    return next((root for root in roots if (root / "wonderproxy.csv").is_file()), None)


def measured_world(directory):
    """The measured cities: what beats light in vacuum is masked, two cities that mostly do are dropped."""
    with (directory / "wonder-servers-2020-07-19.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    where = {
        row["name"]: (row["country"], Place(float(row["latitude"]), float(row["longitude"]))) for row in rows
    }
    with (directory / "wonderproxy.csv").open(encoding="utf-8") as file:
        table = list(csv.reader(file))
    names = [name for name in table[0] if name]
    cells = [row[1:] for row in table[1:]]
    kept = [number for number, name in enumerate(names) if name not in _DROPPED]
    cities = tuple(City(names[n], *where[names[n]]) for n in kept)
    return RttWorld(
        cities,
        tuple(
            tuple(
                _sound(float(cells[a][b] or "nan"), cities[i].place, cities[j].place)
                for j, b in enumerate(kept)
            )
            for i, a in enumerate(kept)
        ),
    )


def _sound(rtt_ms, a, b):
    return rtt_ms if a == b or rtt_ms >= distance_km(a, b) * _LIGHT_MS_PER_KM else None


def made_up_world(seed, cities_count=60):
    """Cities in clusters, with a last mile each, and detours for a quarter of the pairs."""
    rng = random.Random(seed)
    middles = [(rng.uniform(-35, 60), rng.uniform(-170, 170)) for _ in range(8)]
    cities = []
    for number in range(cities_count):
        lat, lon = rng.choice(middles)
        place = Place(lat + rng.gauss(0, 5), (lon + rng.gauss(0, 8) + 180) % 360 - 180)
        cities.append(City(f"city-{number}", "", place))
    last_mile_ms = [rng.uniform(1, 12) for _ in cities]
    rtts = [[0.0] * cities_count for _ in cities]
    for i in range(cities_count):
        for j in range(i):
            a, b = cities[i].place, cities[j].place
            km = distance_km(a, b)
            if rng.random() < 0.25:
                by = rng.choice(cities).place
                km = min(distance_km(a, by) + distance_km(by, b), km + 6000)
            rtts[i][j] = rtts[j][i] = (
                last_mile_ms[i] + last_mile_ms[j] + 0.0125 * km * math.exp(rng.gauss(0, 0.15))
            )
        rtts[i][i] = 2 * last_mile_ms[i]
    return RttWorld(tuple(cities), tuple(map(tuple, rtts)))
