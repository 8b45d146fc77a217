"""The retailer's stores: where they are, their clock, their currency, how busy they are. The web shop is one too."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import asin, cos, radians, sin, sqrt
from random import Random
from zoneinfo import ZoneInfo

_EARTH_RADIUS_KM = 6371.0

_CITIES = (
    # code, country, region, latitude, longitude, time zone, currency
    ("US-NYC", "United States", "US Northeast", 40.713, -74.006, "America/New_York", "USD"),
    ("GB-LON", "United Kingdom", "UK & Ireland", 51.507, -0.128, "Europe/London", "GBP"),
    ("US-LAX", "United States", "US West", 34.052, -118.244, "America/Los_Angeles", "USD"),
    ("DE-BER", "Germany", "Continental Europe", 52.520, 13.405, "Europe/Berlin", "EUR"),
    ("CA-TOR", "Canada", "Canada", 43.653, -79.383, "America/Toronto", "CAD"),
    ("US-CHI", "United States", "US Midwest", 41.878, -87.630, "America/Chicago", "USD"),
    ("GB-MAN", "United Kingdom", "UK & Ireland", 53.481, -2.242, "Europe/London", "GBP"),
    ("FR-PAR", "France", "Continental Europe", 48.857, 2.352, "Europe/Paris", "EUR"),
    ("US-DAL", "United States", "US South", 32.777, -96.797, "America/Chicago", "USD"),
    ("US-BOS", "United States", "US Northeast", 42.360, -71.059, "America/New_York", "USD"),
    ("CA-VAN", "Canada", "Canada", 49.283, -123.121, "America/Vancouver", "CAD"),
    ("GB-BHM", "United Kingdom", "UK & Ireland", 52.486, -1.890, "Europe/London", "GBP"),
    ("US-SEA", "United States", "US West", 47.606, -122.332, "America/Los_Angeles", "USD"),
    ("NL-AMS", "Netherlands", "Continental Europe", 52.368, 4.904, "Europe/Amsterdam", "EUR"),
    ("US-ATL", "United States", "US South", 33.749, -84.388, "America/New_York", "USD"),
    ("IE-DUB", "Ireland", "UK & Ireland", 53.350, -6.260, "Europe/Dublin", "EUR"),
    ("US-DEN", "United States", "US West", 39.739, -104.990, "America/Denver", "USD"),
    ("CA-MTL", "Canada", "Canada", 45.502, -73.567, "America/Toronto", "CAD"),
    ("ES-MAD", "Spain", "Continental Europe", 40.417, -3.704, "Europe/Madrid", "EUR"),
    ("US-MIA", "United States", "US South", 25.762, -80.192, "America/New_York", "USD"),
    ("GB-GLA", "United Kingdom", "UK & Ireland", 55.864, -4.252, "Europe/London", "GBP"),
    ("US-MSP", "United States", "US Midwest", 44.978, -93.265, "America/Chicago", "USD"),
    ("IT-MIL", "Italy", "Continental Europe", 45.464, 9.190, "Europe/Rome", "EUR"),
    ("US-PHX", "United States", "US West", 33.448, -112.074, "America/Phoenix", "USD"),
    ("US-PHL", "United States", "US Northeast", 39.953, -75.165, "America/New_York", "USD"),
    ("CA-CAL", "Canada", "Canada", 51.045, -114.072, "America/Edmonton", "CAD"),
    ("GB-LEE", "United Kingdom", "UK & Ireland", 53.801, -1.549, "Europe/London", "GBP"),
    ("DE-MUC", "Germany", "Continental Europe", 48.137, 11.576, "Europe/Berlin", "EUR"),
    ("US-HOU", "United States", "US South", 29.760, -95.370, "America/Chicago", "USD"),
    ("CA-HAL", "Canada", "Canada", 44.649, -63.575, "America/Halifax", "CAD"),
)


@dataclass(frozen=True, slots=True)
class Store:
    """A store. ``size`` is its share of trade relative to others; ``currency`` of the web shop is its home currency.

    Coordinates are in degrees. The web shop has no tills, and sells in the currency of its customer's home store.
    """

    id: str
    country: str
    region: str
    latitude: float
    longitude: float
    zone: ZoneInfo
    currency: str
    size: float
    tills: int
    web: bool = False

    @property
    def location(self) -> dict[str, object]:
        """The ``location`` of an event at one of the tills."""
        return {
            "country": self.country,
            "region": self.region,
            "latitude": self.latitude,
            "longitude": self.longitude,
        }


def open_stores(count: int, random: Random) -> tuple[Store, ...]:
    """``count`` stores, spread over the cities in turn."""
    return tuple(_store(index, random) for index in range(count))


def open_web_shop(stores: tuple[Store, ...]) -> Store:
    """The web shop: as busy as a fifth of all stores together, on the clock of the first."""
    home = stores[0]
    size = max(1.0, sum(store.size for store in stores) / 5)
    return replace(home, id="WEB", size=size, tills=0, web=True)


def kilometres(one: Store, other: Store) -> float:
    """Great-circle distance between two stores (haversine)."""
    south, north = radians(one.latitude), radians(other.latitude)
    half_latitude = (north - south) / 2
    half_longitude = radians(other.longitude - one.longitude) / 2
    chord = sin(half_latitude) ** 2 + cos(south) * cos(north) * sin(half_longitude) ** 2
    return 2 * _EARTH_RADIUS_KM * asin(sqrt(min(1.0, chord)))


def _store(index: int, random: Random) -> Store:
    code, country, region, latitude, longitude, zone, currency = _CITIES[index % len(_CITIES)]
    size = random.lognormvariate(0, 0.4)
    return Store(
        id=f"{code}-{index // len(_CITIES) + 1}",
        country=country,
        region=region,
        latitude=round(latitude + random.uniform(-0.05, 0.05), 4),
        longitude=round(longitude + random.uniform(-0.05, 0.05), 4),
        zone=ZoneInfo(zone),
        currency=currency,
        size=size,
        tills=max(2, round(6 * size)),
    )
