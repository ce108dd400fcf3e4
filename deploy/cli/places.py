"""Places by name: what `--from` accepts besides coordinates."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from edge_node.client.config import stated_place
from origin.api import place_at
from registry.errors import InputInvalidError

if TYPE_CHECKING:
    from origin.api import Place

CITIES: dict[str, tuple[float, float]] = {
    "amsterdam": (52.37, 4.90),
    "athens": (37.98, 23.73),
    "auckland": (-36.85, 174.76),
    "bangkok": (13.76, 100.50),
    "beijing": (39.90, 116.41),
    "berlin": (52.52, 13.40),
    "bogota": (4.71, -74.07),
    "boston": (42.36, -71.06),
    "buenos aires": (-34.60, -58.38),
    "cairo": (30.04, 31.24),
    "cape town": (-33.92, 18.42),
    "chicago": (41.88, -87.63),
    "delhi": (28.61, 77.21),
    "dubai": (25.20, 55.27),
    "dublin": (53.35, -6.26),
    "frankfurt": (50.11, 8.68),
    "helsinki": (60.17, 24.94),
    "hong kong": (22.32, 114.17),
    "istanbul": (41.01, 28.98),
    "jakarta": (-6.21, 106.85),
    "johannesburg": (-26.20, 28.05),
    "kyiv": (50.45, 30.52),
    "lagos": (6.52, 3.38),
    "lima": (-12.05, -77.04),
    "lisbon": (38.72, -9.14),
    "london": (51.51, -0.13),
    "los angeles": (34.05, -118.24),
    "madrid": (40.42, -3.70),
    "mexico city": (19.43, -99.13),
    "miami": (25.76, -80.19),
    "milan": (45.46, 9.19),
    "montreal": (45.50, -73.57),
    "mumbai": (19.08, 72.88),
    "nairobi": (-1.29, 36.82),
    "new york": (40.71, -74.01),
    "oslo": (59.91, 10.75),
    "paris": (48.86, 2.35),
    "prague": (50.08, 14.44),
    "rome": (41.90, 12.50),
    "san francisco": (37.77, -122.42),
    "santiago": (-33.45, -70.67),
    "sao paulo": (-23.55, -46.63),
    "seattle": (47.61, -122.33),
    "seoul": (37.57, 126.98),
    "shanghai": (31.23, 121.47),
    "singapore": (1.35, 103.82),
    "stockholm": (59.33, 18.07),
    "sydney": (-33.87, 151.21),
    "tokyo": (35.68, 139.69),
    "toronto": (43.65, -79.38),
    "vienna": (48.21, 16.37),
    "warsaw": (52.23, 21.01),
    "zurich": (47.38, 8.54),
}


def find_place(text: str) -> Place | None:
    """A place from a city's name or `LAT,LON`; None from an empty text.

    Raises:
        InputInvalidError: neither a city known here nor coordinates on the earth; names near ones.
    """
    name = " ".join(text.lower().replace("-", " ").replace("_", " ").split())
    if name in CITIES:
        lat, lon = CITIES[name]
        return place_at(lat, lon)
    if "," in text or not name:
        return stated_place(text)
    near = difflib.get_close_matches(name, CITIES, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "write LAT,LON in degrees, such as 48.86,2.35"
    raise InputInvalidError(f"no city {text[:80]!r} is known here; {hint}", param="from")
