"""Places by name and by coordinates."""

from __future__ import annotations

import pytest

from deploy.cli.places import CITIES, find_place
from registry.errors import InputInvalidError


def test_names_in_any_writing():
    for text in ("sao paulo", "Sao-Paulo", "SAO_PAULO", "  sao   paulo "):
        place = find_place(text)
        assert (place.lat, place.lon) == (-23.55, -46.63)
    assert find_place("") is None
    assert find_place("-33.87,151.21").lon == 151.21


def test_every_city_is_on_the_earth_to_two_decimals():
    assert len(CITIES) >= 40
    for name, (lat, lon) in CITIES.items():
        place = find_place(name)
        assert (place.lat, place.lon) == (lat, lon) == (round(lat, 2), round(lon, 2))


@pytest.mark.parametrize(
    ("text", "says"), [("pariss", "paris"), ("xyzzy", "LAT,LON"), ("1,2,3", "48.86"), ("91,0", "-90")]
)
def test_what_is_no_place(text, says):
    with pytest.raises(InputInvalidError, match=says):
        find_place(text)
