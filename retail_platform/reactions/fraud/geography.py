"""Distance between two places on the earth."""

from __future__ import annotations

from math import asin, cos, radians, sin, sqrt

#: Mean radius of the earth in kilometres (IUGG).
EARTH_RADIUS_KM = 6371.0088


def kilometres(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """Great-circle distance in kilometres between two places in degrees, by the haversine formula (Sinnott, 1984).

    A sphere for the ellipsoid: at most 0.6 % off.
    """
    half_latitude = radians(other_latitude - latitude) / 2
    half_longitude = radians(other_longitude - longitude) / 2
    parallels = cos(radians(latitude)) * cos(radians(other_latitude))
    chord = sin(half_latitude) ** 2 + parallels * sin(half_longitude) ** 2
    return 2 * EARTH_RADIUS_KM * asin(sqrt(min(1.0, chord)))
