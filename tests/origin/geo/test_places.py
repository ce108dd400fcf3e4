"""What a client says of its place."""

import pytest

from origin.api import Place, parse_place
from origin.geo.places import client_place
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
