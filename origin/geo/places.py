"""Where a client is, as far as it says so, and which statement was believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.api import Place
from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from origin.api import PlaceSource

PLACE_HEADER = "x-edgeward-place"
PLACE_PARAMETER = "place"


def client_place(
    field: Place | None, parameter: str | None, header: str | None
) -> tuple[Place | None, PlaceSource]:
    """The client's place from the body's field, else the URL's parameter, else the header, else none.

    Raises:
        InputInvalidError: the statement that counts is not a place.
    """
    if field is not None:
        return field, "stated"
    if parameter is not None:
        return parse_place(parameter, PLACE_PARAMETER), "stated"
    if header is not None:
        return parse_place(header, PLACE_HEADER), "stated"
    return None, "none"


def parse_place(text: str, param: str = "place") -> Place:
    """`LAT,LON` in degrees, such as `48.86,2.35` or `-33.9,151.2`.

    Raises:
        InputInvalidError: anything else; `param` names what was read.
    """
    parts = text.split(",")
    try:
        lat, lon = (float(part) for part in parts)
    except ValueError:
        lat = lon = float("nan")
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):  # a NaN fails too
        raise InputInvalidError(
            f"{text[:40]!r} is not a place: give LAT,LON in degrees, latitude from -90 to 90 and "
            "longitude from -180 to 180 (for example 48.86,2.35)",
            param=param,
        )
    return Place(lat, lon)
