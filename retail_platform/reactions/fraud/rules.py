"""The card rules, one function each: the card's other purchases, a new one, the rule's parameters → evidence, or ``None``.

A purchase may arrive late or out of order, so a rule looks at event time around the new purchase on both sides: a burst is
found whatever the order in which its purchases arrive, at the one that arrives last.

Evidence is what an analyst needs to follow the hit: the inputs and the threshold they passed. Money in it is text in USD.
A purchase whose amount in USD is not known is nothing to the rules of amounts, neither a new one nor in the history.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from decimal import Decimal
from statistics import median
from typing import Any

from retail_platform.reactions.fraud.geography import kilometres
from retail_platform.reactions.fraud.parameters import (
    HOUR_SECONDS,
    CardTesting,
    FirstSeen,
    ImpossibleTravel,
    UnusualAmount,
    Velocity,
)
from retail_platform.reactions.fraud.state import SECOND, Purchase

#: The 0.75 quantile of the standard normal: makes MAD comparable to a standard deviation (Iglewicz and Hoaglin, 1993).
NORMAL_MAD = 0.6745

# An alert's evidence is a short text, however many stores a thief goes through.
_STORES_TOLD = 10

Evidence = dict[str, Any]
History = Sequence[Purchase]


def velocity(history: History, new: Purchase, parameters: Velocity) -> Evidence | None:
    """As many purchases as the threshold within some window that the new one is in."""
    most = max(len(window) for window in _windows(history, new, parameters.seconds))
    if most < parameters.purchases:
        return None
    return {"purchases": most, "threshold_purchases": parameters.purchases, "window_seconds": parameters.seconds}


def card_testing(history: History, new: Purchase, parameters: CardTesting) -> Evidence | None:
    """Small purchases, as many as the threshold and over as many stores, within some window that the new one is in."""
    if not _is_small(new, parameters):
        return None
    small = [purchase for purchase in history if _is_small(purchase, parameters)]
    for window in sorted(_windows(small, new, parameters.seconds), key=len, reverse=True):
        stores = sorted({purchase.store_id for purchase in window})
        if len(window) >= parameters.purchases and len(stores) >= parameters.stores:
            return {
                "purchases": len(window),
                "stores": len(stores),
                "first_stores": stores[:_STORES_TOLD],
                "threshold_purchases": parameters.purchases,
                "threshold_stores": parameters.stores,
                "threshold_amount_usd": str(parameters.most_usd),
                "window_seconds": parameters.seconds,
            }
    return None


def impossible_travel(history: History, new: Purchase, parameters: ImpossibleTravel) -> Evidence | None:
    """From the card-present purchase before, or to the one after, in event time, faster than anyone travels.

    Consecutive pairs are enough: who is too fast over two legs is too fast over one of them.
    """
    if new.latitude is None or new.longitude is None:
        return None
    placed = [purchase for purchase in history if purchase.latitude is not None and purchase.longitude is not None]
    before = max((other for other in placed if other.moment < new.moment), key=_moment, default=None)
    after = min((other for other in placed if other.moment > new.moment), key=_moment, default=None)
    trips = [_trip(other, new, parameters) for other in (before, after) if other is not None]
    impossible = [trip for trip in trips if _is_impossible(trip, parameters)]
    return max(impossible, key=lambda trip: trip["least_speed_kmh"], default=None)


def unusual_amount(history: History, new: Purchase, parameters: UnusualAmount) -> Evidence | None:
    """A modified z score at or above the threshold, over the card's own amounts or, without enough, its category's."""
    if new.amount_usd is None or new.amount_usd < parameters.least_usd:
        return None
    amounts = _amounts(history)
    basis, centre, deviation = _measure(amounts, new.category, parameters)
    spread = max(deviation, parameters.least_mad_usd)
    z = NORMAL_MAD * float((new.amount_usd - centre) / spread)
    if z < parameters.z:
        return None
    return {
        "amount_usd": str(new.amount_usd),
        "basis": basis,
        "median_usd": str(centre),
        "mad_usd": str(spread),
        "purchases": len(amounts),
        "robust_z": round(z, 2),
        "threshold_robust_z": parameters.z,
    }


def first_seen_store(history: History, new: Purchase, parameters: FirstSeen) -> Evidence | None:
    """A high amount in a store where the card was never seen."""
    if any(purchase.store_id == new.store_id for purchase in history):
        return None
    return _high_for_the_card(history, new, parameters, {"first_seen_store": new.store_id})


def first_seen_device(history: History, new: Purchase, parameters: FirstSeen) -> Evidence | None:
    """A high amount at a till where the card was never seen."""
    if new.device is None or any(purchase.device == new.device for purchase in history):
        return None
    return _high_for_the_card(history, new, parameters, {"first_seen_device": new.device})


def _is_small(purchase: Purchase, parameters: CardTesting) -> bool:
    return purchase.amount_usd is not None and purchase.amount_usd <= parameters.most_usd


def _amounts(history: History) -> list[Decimal]:
    return [purchase.amount_usd for purchase in history if purchase.amount_usd is not None]


def _windows(history: History, new: Purchase, seconds: int) -> Iterator[list[Purchase]]:
    """The purchases of each window ``[start, start + seconds)`` that begins with a purchase and has the new one in it."""
    length = seconds * SECOND
    near = sorted((other for other in (*history, new) if abs(other.time - new.time) < length), key=_moment)
    times = [purchase.time for purchase in near]
    for number, start in enumerate(times):
        if start > new.time:
            return
        yield near[number : bisect_left(times, start + length)]


def _trip(one: Purchase, other: Purchase, parameters: ImpossibleTravel) -> Evidence:
    origin, goal = sorted((one, other), key=_moment)
    distance = kilometres(*_place(origin), *_place(goal))
    elapsed = (goal.time - origin.time) / SECOND
    return {
        "from_event_id": origin.event_id,
        "from_store_id": origin.store_id,
        "to_event_id": goal.event_id,
        "to_store_id": goal.store_id,
        "distance_km": round(distance, 1),
        "elapsed_seconds": round(elapsed, 3),
        "least_speed_kmh": round(
            max(distance - parameters.near_km, 0) * HOUR_SECONDS / (elapsed + parameters.quick_seconds), 1
        ),
        "threshold_speed_kmh": parameters.kmh,
        "tolerance_km": parameters.near_km,
        "tolerance_seconds": parameters.quick_seconds,
    }


def _is_impossible(trip: Evidence, parameters: ImpossibleTravel) -> bool:
    return bool(trip["least_speed_kmh"] > parameters.kmh)


def _place(purchase: Purchase) -> tuple[float, float]:
    if purchase.latitude is None or purchase.longitude is None:
        raise ValueError(f"purchase {purchase.event_id} has no place")
    return purchase.latitude, purchase.longitude


def _measure(
    amounts: Sequence[Decimal], category: str | None, parameters: UnusualAmount
) -> tuple[str, Decimal, Decimal]:
    """(what it is the measure of, median, MAD), in USD."""
    if len(amounts) >= parameters.history:
        centre = median(amounts)
        return "card", centre, median(abs(amount - centre) for amount in amounts)
    for baseline in parameters.baselines:
        if baseline.category == category:
            return f"category {category}", baseline.median_usd, baseline.mad_usd
    return "all categories", parameters.baseline.median_usd, parameters.baseline.mad_usd


def _high_for_the_card(history: History, new: Purchase, parameters: FirstSeen, place: Evidence) -> Evidence | None:
    amounts = _amounts(history)
    if new.amount_usd is None or len(amounts) < parameters.history:
        return None
    usual = median(amounts)
    threshold = max(parameters.least_usd, parameters.times_median * usual)
    if new.amount_usd < threshold:
        return None
    return place | {
        "amount_usd": str(new.amount_usd),
        "median_usd": str(usual),
        "threshold_amount_usd": str(threshold),
        "purchases": len(amounts),
    }


def _moment(purchase: Purchase) -> tuple[int, str]:
    return purchase.moment
