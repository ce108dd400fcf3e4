"""Where a client is: what it says of itself, and what databases say of its address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from origin.api import Place, parse_place

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


@dataclass(frozen=True, slots=True)
class AddressRecord:
    """What databases say of an address.

    Attributes:
        region: its country in two capital letters; "" when unknown.
        scope_bits: how many leading bits of the address the answer holds for; None when no database knows it.
    """

    place: Place | None = None
    region: str = ""
    as_number: int | None = None
    scope_bits: int | None = None


UNKNOWN = AddressRecord()


def read_record(raw: object, scope_bits: int | None = None) -> AddressRecord:
    """A record of a MaxMind database, flat as DB-IP's by way of ip-location-db or nested as GeoLite2's.

    What is missing or makes no sense is left out: a database is not ours, and a gap in it is no error.
    """
    if not isinstance(raw, dict):
        return UNKNOWN
    location, country = raw.get("location", raw), raw.get("country", raw)
    return AddressRecord(
        _place(location) if isinstance(location, dict) else None,
        _region(
            country.get("iso_code", country.get("country_code")) if isinstance(country, dict) else country
        ),
        _as_number(raw.get("autonomous_system_number")),
        scope_bits,
    )


def joined(first: AddressRecord, second: AddressRecord) -> AddressRecord:
    """What two databases say together; the first counts where both speak, the narrower scope for both."""
    bits = [record.scope_bits for record in (first, second) if record.scope_bits is not None]
    return AddressRecord(
        first.place or second.place,
        first.region or second.region,
        first.as_number if first.as_number is not None else second.as_number,
        max(bits, default=None),
    )


def _place(location: dict[object, object]) -> Place | None:
    lat, lon = location.get("latitude"), location.get("longitude")
    if not isinstance(lat, int | float) or not isinstance(lon, int | float):
        return None
    if not (-90 <= lat <= 90 and -180 <= lon <= 180) or lat == lon == 0:  # 0,0 stands for nowhere
        return None
    return Place(float(lat), float(lon))


def _region(code: object) -> str:
    known = isinstance(code, str) and len(code) == 2 and code.isascii() and code.isalpha()
    return code.upper() if known and isinstance(code, str) else ""


def _as_number(number: object) -> int | None:
    return number if isinstance(number, int) and 0 < number < 2**32 else None
