"""What a client says of its place, and what databases say of its address."""

import pytest

from origin.api import Place, parse_place
from origin.geo.places import UNKNOWN, AddressRecord, client_place, joined, read_record
from registry.errors import InputInvalidError


def test_the_body_counts_before_the_url_and_the_url_before_the_header():
    assert client_place(Place(1, 2), "3,4", "5,6") == (Place(1, 2), "stated")
    assert client_place(None, "3,4", "5,6") == (Place(3, 4), "stated")
    assert client_place(None, None, " 5 , -6.5 ") == (Place(5, -6.5), "stated")
    assert client_place(None, None, None) == (None, "none")


@pytest.mark.parametrize(
    "text", ["", "Paris", "48.9", "1,2,3", "91,0", "0,181", "nan,0", "0,inf", "1;2", ","]
)
def test_what_is_no_place_is_refused_with_an_example(text):
    with pytest.raises(InputInvalidError, match=r"LAT,LON") as caught:
        parse_place(text, "x-edgeward-place")
    assert caught.value.param == "x-edgeward-place"


def test_flat_and_nested_records_say_the_same():
    wanted = AddressRecord(Place(48.86, 2.35), "FR", None, 24)
    assert (
        read_record({"latitude": 48.86, "longitude": 2.35, "country_code": "fr", "city": "Paris"}, 24)
        == wanted
    )
    nested = {"location": {"latitude": 48.86, "longitude": 2.35}, "country": {"iso_code": "FR"}}
    assert read_record(nested, 24) == wanted
    assert read_record({"autonomous_system_number": 64500}).as_number == 64500


@pytest.mark.parametrize(
    "raw",
    [
        None, 7, "x", [], {}, {"location": 3, "country": None}, {"latitude": "48", "longitude": 2},
        {"latitude": 91.0, "longitude": 2.0}, {"latitude": float("nan"), "longitude": 2.0},
        {"latitude": 0.0, "longitude": 0.0}, {"country_code": "FRA"}, {"country_code": "é!"}, {"country": 9},
        {"autonomous_system_number": -1}, {"autonomous_system_number": "64500"},
    ],
)  # fmt: skip
def test_a_gap_or_nonsense_in_a_database_is_left_out(raw):
    assert read_record(raw) == UNKNOWN


def test_two_databases_are_asked_as_one():
    city, number = AddressRecord(Place(1, 2), "FR", None, 20), AddressRecord(Place(3, 4), "DE", 64500, 16)
    assert joined(city, number) == AddressRecord(Place(1, 2), "FR", 64500, 20)
    assert joined(UNKNOWN, number) == number
