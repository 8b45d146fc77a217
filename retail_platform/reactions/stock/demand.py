"""The daily demand of one product in one store, from its sales by business date.

A day without a sale is a day of demand 0. A day on which the stock was out says less than the demand was: it is left out
(censored). Today is not over, so it is left out too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class History:
    """Units sold on each day since ``first_day`` (a proleptic ordinal), and whether the stock was out on it.

    Bounded by the days that are kept. ``out_now``: whether it is out after the latest event, hence on days without one.
    """

    first_day: int = 0
    units: tuple[int, ...] = ()
    out: tuple[bool, ...] = ()
    out_now: bool = False

    def packed(self) -> dict[str, Any]:
        """The history as JSON."""
        return {
            "first_day": self.first_day,
            "units": list(self.units),
            "out": [int(day) for day in self.out],
            "out_now": self.out_now,
        }


def unpacked(history: Mapping[str, Any]) -> History:
    """What :meth:`History.packed` wrote."""
    return History(history["first_day"], tuple(history["units"]), tuple(map(bool, history["out"])), history["out_now"])


def recorded(history: History, day: int, sold: int, *, out: bool, most_days: int) -> History:
    """The history with ``sold`` units more on ``day``, which may be a past one, and the stock out or not since now.

    A day before the first that is kept changes nothing but ``out_now``.
    """
    first, units, outs = history.first_day, list(history.units), list(history.out)
    if not units:
        first, units, outs = day, [0], [False]
    elif day - first >= len(units):
        missing = min(day - first - len(units) + 1, most_days)
        first = day - missing - len(units) + 1
        units += [0] * missing
        outs += [history.out_now] * missing
    if day >= first:
        units[day - first] += sold
    outs[-1] = outs[-1] or out
    over = max(0, len(units) - most_days)
    return History(first + over, tuple(units[over:]), tuple(outs[over:]), out)


def observed(history: History) -> tuple[int, ...]:
    """The demand of each whole day on which the stock was never out, oldest first."""
    return tuple(sold for sold, out in zip(history.units[:-1], history.out[:-1], strict=True) if not out)


@dataclass(frozen=True, slots=True)
class Demand:
    """``mean`` and ``deviation`` in units a day, by ``method``, from so many ``days``."""

    mean: float
    deviation: float
    method: Literal["mean", "sba"]
    days: int


def estimated(days: Sequence[int], smoothing: float, intermittent_from: float) -> Demand | None:
    """The demand that observed days show; ``None`` from fewer than two.

    The mean over all days, zeros included; for intermittent demand (:func:`intermittent`) the Syntetos-Boylan
    approximation instead. The deviation is the sample's (n − 1), zeros included, in both cases.
    """
    if len(days) < 2:  # noqa: PLR2004  a deviation needs two
        return None
    mean = sum(days) / len(days)
    deviation = math.sqrt(math.fsum((sold - mean) ** 2 for sold in days) / (len(days) - 1))
    if intermittent(days, intermittent_from):
        return Demand(syntetos_boylan(days, smoothing), deviation, "sba", len(days))
    return Demand(mean, deviation, "mean", len(days))


def intermittent(days: Sequence[int], intermittent_from: float) -> bool:
    """Whether the days between two with demand are over ``intermittent_from`` on average.

    1.32 is the cut-off of Syntetos, Boylan and Croston, "On the categorization of demand patterns" (2005).
    """
    with_demand = sum(sold > 0 for sold in days)
    return with_demand > 0 and len(days) / with_demand > intermittent_from


def croston(days: Sequence[int], smoothing: float) -> float:
    """Demand a day by Croston, "Forecasting and stock control for intermittent demands" (1972); 0 without demand.

    Size and interval are smoothed apart, on days with demand only; they begin at the first size and interval.
    """
    size = interval = 0.0
    since = 0
    for sold in days:
        since += 1
        if not sold:
            continue
        if not size:
            size, interval = float(sold), float(since)
        size += smoothing * (sold - size)
        interval += smoothing * (since - interval)
        since = 0
    return size / interval if interval else 0.0


def syntetos_boylan(days: Sequence[int], smoothing: float) -> float:
    """Croston's estimate without its bias: times 1 − α/2.

    Syntetos and Boylan, "The accuracy of intermittent demand estimates" (2005).
    """
    return (1 - smoothing / 2) * croston(days, smoothing)
