"""Which prices may be set, whatever the target says; all in US dollars, exact, in whole cents.

A change of at most x is a ratio of at most 1 + x, up or down: no price falls by more than x either, and every change can
be taken back in one.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

_CENT = Decimal("0.01")
_UP = decimal.Context(prec=40, rounding=decimal.ROUND_CEILING)
_DOWN = decimal.Context(prec=40, rounding=decimal.ROUND_FLOOR)


@dataclass(frozen=True, slots=True)
class Guardrails:
    """The limits of every price.

    - ``minimum_margin``: the least share of the price that is margin over the unit cost.
    - ``ceiling_ratio``: the most a price may be of its list price, where the product has no ceiling of its own.
    - ``most_change``: of one change. ``most_change_a_day``: against every price of the last 24 hours. As shares.
    - ``between_changes``: the least time from one change to the next.
    - ``demand_fresh_for``, ``stock_fresh_for``: how old what is known of demand and stock may be.
    - ``emergency``: whether an emergency is declared: no price rises.
    """

    minimum_margin: Decimal = Decimal("0.10")
    ceiling_ratio: Decimal = Decimal("1.25")
    most_change: Decimal = Decimal("0.05")
    most_change_a_day: Decimal = Decimal("0.10")
    between_changes: dt.timedelta = dt.timedelta(hours=6)
    demand_fresh_for: dt.timedelta = dt.timedelta(hours=24)
    stock_fresh_for: dt.timedelta = dt.timedelta(hours=24)
    emergency: bool = False


@dataclass(frozen=True, slots=True)
class Band:
    """The prices from ``low`` to ``high``, both included; none when ``low`` is above ``high``."""

    low: Decimal
    high: Decimal

    def __contains__(self, price: Decimal) -> bool:
        """Whether a price may be set."""
        return self.low <= price <= self.high


def floor_and_ceiling(
    unit_cost: Decimal,
    minimum_advertised_price: Decimal | None,
    list_price: Decimal,
    ceiling: Decimal | None,
    limits: Guardrails,
) -> Band:
    """From the cost with its margin, or the minimum advertised price if that is higher, to the ceiling."""
    with_margin = _UP.divide(unit_cost, 1 - limits.minimum_margin)
    low = max(with_margin, minimum_advertised_price or Decimal(0))
    high = ceiling if ceiling is not None else _DOWN.multiply(list_price, limits.ceiling_ratio)
    return Band(_cents_up(low), _cents_down(high))


def reachable(band: Band, current: Decimal, recent: Iterable[Decimal], limits: Guardrails) -> Band:
    """What of a band may follow the current price; ``recent`` are the prices of the last 24 hours."""
    steps = [(current, limits.most_change), *((price, limits.most_change_a_day) for price in (current, *recent))]
    low = max(band.low, *(_cents_up(_UP.divide(price, 1 + share)) for price, share in steps))
    high = min(band.high, *(_cents_down(_DOWN.multiply(price, 1 + share)) for price, share in steps))
    return Band(low, min(high, current) if limits.emergency else high)


def with_ending(target: Decimal, band: Band, endings: Iterable[int]) -> Decimal:
    """The price of a band nearest to the target that ends in one of these cents; the nearest cent if none does.

    Of two as near, the lower one. The band must not be empty.
    """
    wanted = min(max(_cents_down(target), band.low), band.high)
    dollars = int(wanted)
    candidates = [
        Decimal(whole) + _CENT * cents for whole in (dollars - 1, dollars, dollars + 1) for cents in sorted(endings)
    ]
    allowed = [price for price in candidates if price in band]
    return min(allowed, key=lambda price: (abs(price - wanted), price), default=wanted)


def _cents_up(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, context=_UP)


def _cents_down(amount: Decimal) -> Decimal:
    return amount.quantize(_CENT, context=_DOWN)
