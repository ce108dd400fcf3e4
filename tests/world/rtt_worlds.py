"""Worlds of cities and the round trips between them: measured ones, read where they are kept, and made-up ones.

The measured set is no part of this repository (`tests/bench/rtt_cities.py` says where it is looked for). A made-up
world has what makes real ones hard: traffic between some pairs of places takes a detour by a third one, so that the
nearest is not the one that answers first.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from origin.api import Place
from origin.geo.distance import distance_km
from tests.bench.rtt_cities import read_cities

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


def measured_world():
    """The measured cities, cleaned; each is 0 ms from itself."""
    cities = read_cities()
    return RttWorld(
        tuple(map(City, cities.names, cities.countries, cities.places)),
        tuple(
            tuple(0.0 if a == b else rtt_ms for b, rtt_ms in enumerate(row))
            for a, row in enumerate(cities.rtts_ms)
        ),
    )


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
