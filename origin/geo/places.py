"""Where a client is, as far as it says so, and which statement was believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from origin.api import parse_place

if TYPE_CHECKING:
    from origin.api import Place, PlaceSource

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
