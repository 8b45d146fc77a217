"""When events happen: the hours and weekdays of each store, on its own clock, over the simulated window."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from retail_platform.producer.simulator.draw import Weighted, weighted
from retail_platform.producer.simulator.plan import Plan
from retail_platform.producer.simulator.stores import Store

_HOUR_MS = 3_600_000

#: Trade by local hour, 0 to 23: a store opens at eight and closes at nine; the web shop peaks in the evening.
_TILL_HOURS = (0, 0, 0, 0, 0, 0, 0, 0, 2, 4, 6, 8, 10, 9, 8, 8, 9, 11, 10, 7, 4, 0, 0, 0)
_WEB_HOURS = (3, 2, 1, 1, 1, 1, 2, 3, 4, 5, 5, 5, 6, 6, 5, 5, 6, 6, 7, 9, 11, 11, 9, 6)
#: Trade by weekday, Monday to Sunday.
_TILL_WEEKDAYS = (0.8, 0.8, 0.85, 0.95, 1.2, 1.5, 0.9)
_WEB_WEEKDAYS = (1.1, 1.0, 1.0, 0.95, 0.9, 0.9, 1.15)


@dataclass(frozen=True, slots=True)
class Stretch:
    """At most an hour of the window (milliseconds since 1970): how much trade it has, and the stores that share it."""

    start: float
    length: float
    trade: float
    stores: Weighted[Store]


def stretches(plan: Plan, stores: tuple[Store, ...]) -> tuple[Stretch, ...]:
    """The window, hour by hour. When the plan is live every hour has trade by its length alone."""
    parts = []
    start = plan.start_ms
    while start < plan.end_ms:
        length = min(_HOUR_MS - start % _HOUR_MS, plan.end_ms - start)
        sharing = weighted((store, busyness(store, start)) for store in stores)
        trade = length if plan.live else length * sharing.totals[-1]
        parts.append(Stretch(start, length, trade, sharing))
        start += length
    return tuple(parts)


def busyness(store: Store, milliseconds: float) -> float:
    """How much a store trades at that moment: its size by its local hour and weekday."""
    local = dt.datetime.fromtimestamp(milliseconds / 1000, store.zone)
    hours, weekdays = (_WEB_HOURS, _WEB_WEEKDAYS) if store.web else (_TILL_HOURS, _TILL_WEEKDAYS)
    return store.size * hours[local.hour] * weekdays[local.weekday()]


def moments(parts: tuple[Stretch, ...], count: int, random: Random) -> Iterator[tuple[int, Stretch]]:
    """``count`` moments in order (milliseconds since 1970, its stretch), dense where there is trade.

    Each moment is drawn from its own ``count``-th of all trade, so nothing needs to be held or sorted.
    """
    share = sum(part.trade for part in parts) / count
    index, before = 0, 0.0
    for number in range(count):
        trade = (number + random.random()) * share
        while trade > before + parts[index].trade and index < len(parts) - 1:
            before += parts[index].trade
            index += 1
        part = parts[index]
        yield int(part.start + min(1.0, (trade - before) / part.trade) * (part.length - 1)), part
