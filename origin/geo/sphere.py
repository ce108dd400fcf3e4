"""Many distances on the earth at once: points of the unit sphere in arrays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from origin.geo.distance import EARTH_RADIUS_KM

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from origin.api import Place

    Floats = NDArray[np.float64]


def on_sphere(place: Place) -> Floats:
    """A place as a point of the unit sphere."""
    lat, lon = math.radians(place.lat), math.radians(place.lon)
    return np.array([math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)])


def apart_km(a: Floats, b: Floats) -> Floats:
    """Great-circle distances between points whose coordinates are the last axis; the rest is broadcast.

    By the chord, which like the haversine formula keeps its precision for near points.
    """
    chord = np.sqrt(((a - b) ** 2).sum(axis=-1))
    found: Floats = 2 * EARTH_RADIUS_KM * np.arcsin(np.minimum(1.0, chord / 2))
    return found
