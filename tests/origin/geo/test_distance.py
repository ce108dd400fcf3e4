"""Distances against published figures, and the shape of the estimate."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.api import Place
from origin.geo.distance import (
    EARTH_RADIUS_KM,
    MEAN_DISTANCE_KM,
    SAME_PLACE_RTT_MS,
    distance_km,
    estimated_rtt_ms,
)

places = st.builds(Place, st.floats(-90, 90), st.floats(-180, 180))


@pytest.mark.parametrize(
    ("a", "b", "wanted_km"),
    [
        # Great circles between airports, from their coordinates (JFK-LHR, SYD-LAX, PAR-TYO).
        (Place(40.6398, -73.7789), Place(51.4706, -0.4619), 5540),
        (Place(-33.9461, 151.1772), Place(33.9425, -118.4081), 12051),
        (Place(48.8566, 2.3522), Place(35.6762, 139.6503), 9713),
        (Place(0, 179.5), Place(0, -179.5), 111.2),
        (Place(90, 0), Place(-90, 0), math.pi * EARTH_RADIUS_KM),
    ],
)
def test_known_distances(a, b, wanted_km):
    assert distance_km(a, b) == pytest.approx(wanted_km, rel=0.003)


@given(places, places)
def test_symmetric_and_never_further_than_the_other_side(a, b):
    assert distance_km(a, b) == pytest.approx(distance_km(b, a), abs=1e-6)
    assert 0 <= distance_km(a, b) <= math.pi * EARTH_RADIUS_KM + 1e-6
    assert distance_km(a, a) == 0


@given(st.floats(0, 20_100), st.floats(0, 20_100))
def test_further_is_never_quicker(near_km, far_km):
    near_km, far_km = sorted((near_km, far_km))
    assert estimated_rtt_ms(near_km) <= estimated_rtt_ms(far_km)


def test_the_estimate_is_a_small_constant_here_and_the_fitted_line_elsewhere():
    assert estimated_rtt_ms(0) == SAME_PLACE_RTT_MS
    assert estimated_rtt_ms(6000) == pytest.approx(24 + 100.2)
    assert pytest.approx(10_007.6, abs=0.1) == MEAN_DISTANCE_KM
