"""What to simulate: the size of the retailer, the window of time, how much goes wrong."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from retail_platform.errors import RetailError

_SHARES = ("returns", "movements", "duplicates", "late", "out_of_order", "malformed", "fraud")
_COUNTS = ("stores", "customers", "products")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A simulation. The same plan gives the same messages, byte for byte.

    ``events`` events happen between ``start`` (with a time zone) and ``start + duration``; without ``events``, ``rate``
    a second. They follow the hours and weekdays of each store, or come evenly when ``live``. ``stores`` is without the
    web shop.

    Shares are between 0 and 1. Of all events: ``movements`` of stock, ``fraud``, ``late`` (sent 1 to 12 hours after
    their time, which stays inside the window unless ``live``), ``out_of_order`` (overtaken by others), ``malformed``
    (sent broken), ``duplicates`` (sent again, on top of ``events``). Of the rest that trade: ``returns``.

    Raises:
        RetailError: a value is out of range.
    """

    start: dt.datetime
    duration: dt.timedelta = dt.timedelta(days=1)
    events: int | None = None
    rate: float | None = None
    live: bool = False
    seed: int = 0
    stores: int = 20
    customers: int = 20_000
    products: int = 500
    returns: float = 0.05
    movements: float = 0.10
    duplicates: float = 0.0
    late: float = 0.0
    out_of_order: float = 0.0
    malformed: float = 0.0
    fraud: float = 0.0

    def __post_init__(self) -> None:
        if self.start.tzinfo is None:
            raise RetailError("start has no time zone; give it one, e.g. 2026-03-02T00:00:00+00:00")
        if self.duration <= dt.timedelta(0):
            raise RetailError("duration is not positive; give it e.g. as 10m or 24h")
        if (self.events is None) == (self.rate is None):
            raise RetailError("a simulation needs either a number of events or a rate; give one of them")
        if self.count < 1:
            raise RetailError("the simulation would have no event; raise its rate, duration or number of events")
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise RetailError(f"{name} is below 1; give at least one")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise RetailError(f"{name} is a share and must be between 0 and 1, e.g. 0.01")
        if self.duplicates + self.out_of_order + self.malformed > 1:
            raise RetailError("duplicates, out-of-order and malformed add up to more than 1; lower them")

    @property
    def count(self) -> int:
        """How many events the simulation has, duplicates not counted."""
        if self.events is not None:
            return self.events
        return int((self.rate or 0) * self.duration.total_seconds())

    @property
    def start_ms(self) -> int:
        """The beginning, in milliseconds since 1970."""
        return int(self.start.timestamp() * 1000)

    @property
    def end_ms(self) -> int:
        """The end, in milliseconds since 1970."""
        return self.start_ms + int(self.duration.total_seconds() * 1000)
