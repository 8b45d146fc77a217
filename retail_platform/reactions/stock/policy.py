"""When to order and how much: continuous review with a reorder point and an economic quantity.

Formulas as in Silver, Pyke and Thomas, "Inventory and Production Management in Supply Chains" (4th edition, 2017): the
reorder point under variable demand and lead time, independent and normal, with a cycle service level; the economic
order quantity of Harris (1913).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

DAYS_A_YEAR = 365


@dataclass(frozen=True, slots=True)
class ReorderPoint:
    """In units: the deviation of demand over the lead time, the safety stock, and the position at which to order."""

    deviation: float
    safety_stock: float
    units: float


def stock_position(on_hand: int, on_order: int, backorders: int) -> int:
    """What there is and will be, less what is promised already, in units."""
    return on_hand + on_order - backorders


def reorder_point(
    demand: float, demand_deviation: float, lead_time: float, lead_time_deviation: float, service_level: float
) -> ReorderPoint:
    """``L·d + z·√(L·σd² + d²·σL²)``: demand in units a day, lead time in days.

    ``service_level`` is the share of order cycles without a stock-out, between 0 and 1; z is the normal quantile.
    """
    deviation = math.sqrt(lead_time * demand_deviation**2 + demand**2 * lead_time_deviation**2)
    safety_stock = NormalDist().inv_cdf(service_level) * deviation
    return ReorderPoint(deviation, safety_stock, lead_time * demand + safety_stock)


def economic_order_quantity(yearly_demand: float, order_cost: float, holding_cost: float) -> float:
    """``√(2·K·D/h)``: demand in units a year, cost of an order, cost of holding a unit for a year."""
    return math.sqrt(2 * order_cost * yearly_demand / holding_cost)


def order_quantity(wanted: float, case_pack: int, minimum_order: int, maximum_order: int) -> int:
    """The units to order for ``wanted``: whole case packs, at least the minimum, never over the maximum.

    The maximum holds over everything; 0 when it leaves no whole case pack that reaches the minimum.
    """
    packs = math.ceil(max(wanted, minimum_order) / case_pack)
    quantity = min(packs, maximum_order // case_pack) * case_pack
    return quantity if quantity >= minimum_order else 0
