"""ClientSpot: all that routing knows of where a client is, in a form that many clients share.

Two clients of one network and place have equal spots, so whatever is worked out for a spot can be kept for it. It is
looked up several times for each request: a tuple is hashed and compared without a line of Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from origin.api import Place, PlaceSource


class ClientSpot(NamedTuple):
    """Where a client is on the network and on the earth.

    Attributes:
        prefix: its network, canonical: `203.0.113.0/24`, or `2001:db8:1::/48`; "" when unknown.
        as_number: the autonomous system that announces its address; None when unknown.
        region: its country in two capital letters (ISO 3166-1); "" when unknown.
        place: the point that distances are counted from; None when unknown.
        place_source: how the place was known.
        client: its whole address, set only while it has reported round trips of its own; "" otherwise.
    """

    prefix: str = ""
    as_number: int | None = None
    region: str = ""
    place: Place | None = None
    place_source: PlaceSource = "none"
    client: str = ""


NOWHERE = ClientSpot()
"""A client of which nothing is known."""
