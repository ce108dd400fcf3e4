"""Neighbours are believed as far as they have proved to tell of each other."""

import random

import numpy as np
import pytest

from origin.api import Place
from origin.geo import rtt_surface
from origin.geo.distance import distance_km
from origin.geo.rtt_surface import fitted
from origin.geo.rtt_table import RttTable

NODES = {"a": Place(50, 10), "b": Place(-30, -60), "c": Place(10, 100)}


def surface_of(extra_ms, places_count=120):
    """A surface over places in 12 groups; `extra_ms(group, node_id, chance)` is what a pair has over the distance."""
    chance, table = random.Random(3), RttTable()
    middles = [Place(chance.uniform(-50, 60), chance.uniform(-170, 170)) for _ in range(12)]
    for number in range(places_count):
        middle = middles[number % 12]
        place = Place(middle.lat + chance.uniform(-2, 2), middle.lon + chance.uniform(-2, 2))
        for node_id, at in NODES.items():
            rtt_ms = 20 + 0.0167 * distance_km(place, at) + extra_ms(number % 12, node_id, chance)
            table.put(number, place, node_id, at, rtt_ms)
    return fitted(table), middles


def detours(group, node_id, chance):
    return 90.0 if (group + ord(node_id)) % 3 == 0 else chance.uniform(0, 2)


def by_chance(group, node_id, chance):
    return chance.expovariate(1 / 40)


def test_where_neighbours_are_alike_guesses_follow_them_by_half_and_misses_are_small():
    surface, middles = surface_of(detours)
    assert surface.follows == pytest.approx(1, abs=0.1)
    straight = 20 + 0.0167 * distance_km(middles[2], NODES["a"])
    assert surface.guess(middles[2])[surface.columns["a"]] == pytest.approx(straight + 45, abs=15)
    missed = surface.misses(["a", "b", "c"])
    assert np.nanmedian(np.abs(missed)) < 5


def test_where_neighbours_tell_nothing_they_are_not_believed():
    surface, _ = surface_of(by_chance)
    assert surface.follows < 0.3
    missed = surface.misses(["a", "b", "c"])
    believed = np.nanmean(np.abs(missed))
    assert believed < 1.05 * np.nanmean(np.abs(surface.left))


def test_who_is_near_counts_most_for_what_may_be_wrong():
    surface, middles = surface_of(detours)
    counts = surface.counts(middles[5])
    missed = surface.misses(["a"])
    assert counts.shape == (len(missed),)
    far_km = 6371 * np.linalg.norm(surface.places - surface.places[np.argmax(counts)], axis=1)
    assert far_km[np.argsort(counts)[-5:]].max() < 1000
    assert counts.min() > 0


@pytest.mark.parametrize(("rows_count", "columns_count"), [(1, 1), (7, 2), (1000, 1000)])
def test_a_surface_does_not_depend_on_the_pieces_it_is_made_in(monkeypatch, rows_count, columns_count):
    surface, _ = surface_of(detours)
    monkeypatch.setattr(rtt_surface, "_ROWS_AT_ONCE_COUNT", rows_count)
    monkeypatch.setattr(rtt_surface, "_COLUMNS_AT_ONCE_COUNT", columns_count)
    again, _ = surface_of(detours)
    assert again.follows == pytest.approx(surface.follows, rel=1e-12)
    assert again.missed == pytest.approx(surface.missed, rel=1e-9, nan_ok=True)
    assert again.miss_ms == pytest.approx(surface.miss_ms, rel=1e-12)


def test_a_large_table_is_fitted_in_many_pieces_and_the_surface_is_the_last():
    chance, table = random.Random(4), RttTable()
    for number in range(100):
        place = Place(chance.uniform(-50, 60), chance.uniform(-170, 170))
        for node in range(300):
            table.put(number, place, f"n{node}", Place(node / 10, -node / 10), chance.uniform(1, 300))
    *pieces, surface = rtt_surface.fitting(table)
    assert len(pieces) > 75
    assert set(pieces) == {None}
    assert surface.missed.shape == (100, 300)
