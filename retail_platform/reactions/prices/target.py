"""The price that would be best, before any guardrail."""

from __future__ import annotations

#: A markdown asks for at most so many times today's demand: further than that the demand curve is not known.
_MOST_TIMES_DEMAND = 10.0


def optimal_price(unit_cost: float, elasticity: float) -> float | None:
    """``c·e/(1+e)``, where profit is greatest at a constant elasticity (Lerner, 1934); ``None`` unless e < −1."""
    return unit_cost * elasticity / (1 + elasticity) if elasticity < -1 else None


def weeks_of_cover(on_hand: int, weekly_demand: float) -> float | None:
    """How many weeks the stock lasts; ``None`` without demand: for ever."""
    return max(on_hand, 0) / weekly_demand if weekly_demand > 0 else None


def cover_factor(cover: float | None, target_weeks: float, strength: float, most: float) -> float:
    """What a price is multiplied by for its stock: above 1 when it is scarce, below 1 when there is too much.

    ``1 + strength·(target − cover)/target``, at most ``most`` away from 1; at the low end when the stock lasts for ever.
    """
    if cover is None:
        return 1 - most
    return min(max(1 + strength * (target_weeks - cover) / target_weeks, 1 - most), 1 + most)


def markdown_price(price: float, elasticity: float, on_hand: int, weekly_demand: float, days_left: int) -> float:
    """The price at which the stock would be sold out by its sell-by date; ``price`` when it would be anyway.

    At a constant elasticity demand is multiplied by r when price is by r^(1/e). ``days_left`` is at least 1; an elasticity
    above −1 is taken as −1, so that the markdown is never deeper than demand would need at that.
    """
    needed = max(on_hand, 0) / days_left
    daily = weekly_demand / 7
    times = min(needed / daily, _MOST_TIMES_DEMAND) if daily > 0 else _MOST_TIMES_DEMAND
    if needed <= daily:
        return price
    return float(price * times ** (1 / min(elasticity, -1.0)))
