"""When a price is reviewed live: at every sale and every stock level of the product, by the broker's time of that record.

There is no timer. A product that neither sells nor moves is not reviewed: it keeps its price, also when its sell-by date
comes nearer. Sales are known up to the product's last sale and stock up to its last level, so a product that sold nothing for
a day has stale demand, and its price stays, until it sells.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from retail_platform.reactions.events import moment
from retail_platform.reactions.outputs import from_micros, micros
from retail_platform.reactions.prices import rule
from retail_platform.reactions.prices.rule import Parameters, PriceUpdate, Review, Rollback, Sold, Stocked, Terms

_MOST_ROLLBACK_IDS = 20
_MICROSECOND = dt.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Happened:
    """A sale of the product, a stock level of it, or a rollback that somebody asked for.

    ``at``: when the broker appended its record. ``event_time``: its own time. ``event_id``: of the record.
    """

    at: dt.datetime
    event_time: dt.datetime
    event_id: str
    product_id: str
    what: Sold | Stocked | None

    def packed(self) -> dict[str, Any]:
        """As JSON, for the way to the product's partition."""
        packed: dict[str, Any] = {
            "at": micros(self.at),
            "event_time": micros(self.event_time),
            "event_id": self.event_id,
            "product_id": self.product_id,
        }
        match self.what:
            case Sold(units=units, amount_usd=amount):
                packed["sold"] = [units, str(amount)]
            case Stocked(store_id=store, on_hand=on_hand, revision=revision):
                packed["stocked"] = [store, on_hand, revision]
        return packed


def unpacked_event(packed: Mapping[str, Any]) -> Happened:
    """What :meth:`Happened.packed` wrote."""
    event_id, product = packed["event_id"], packed["product_id"]
    time = from_micros(packed["event_time"])
    what: Sold | Stocked | None = None
    if "sold" in packed:
        units, amount = packed["sold"]
        what = Sold(event_id, time, product, units, Decimal(amount))
    elif "stocked" in packed:
        what = Stocked(product, *packed["stocked"])
    return Happened(from_micros(packed["at"]), time, event_id, product, what)


def from_sold(sold: Sold, at: dt.datetime) -> Happened:
    """A sale whose record was appended at that time."""
    return Happened(at, sold.event_time, sold.event_id, sold.product_id, sold)


def from_level(event: Mapping[str, Any], at: dt.datetime) -> Happened:
    """A valid event of ``stock-levels``, as :class:`Judgement.event` holds it."""
    product = event["product_id"]
    stocked = Stocked(product, event["store_id"], int(event["on_hand"]), int(event["revision"]))
    return Happened(at, moment(event["event_time"]), event["event_id"], product, stocked)


def from_rollback(event: Mapping[str, Any], at: dt.datetime) -> Happened:
    """A valid event of ``price-rollbacks``, likewise."""
    return Happened(at, moment(event["event_time"]), event["event_id"], event["product_id"], None)


@dataclass(frozen=True, slots=True)
class State:
    """The rule's state; up to which times (microseconds) sales and stock are known; the latest rollbacks, at most 20."""

    product: rule.State = field(default_factory=rule.State)
    demand_as_of: int = 0
    stock_as_of: int = 0
    rollback_ids: tuple[str, ...] = ()

    def packed(self) -> dict[str, Any]:
        """The state as JSON."""
        return {
            "product": self.product.packed(),
            "demand_as_of": self.demand_as_of,
            "stock_as_of": self.stock_as_of,
            "rollback_ids": list(self.rollback_ids),
        }


def unpacked(state: Mapping[str, Any] | None) -> State:
    """The state that :meth:`State.packed` wrote; empty where there is none."""
    if not state:
        return State()
    return State(
        rule.unpacked(state["product"]), state["demand_as_of"], state["stock_as_of"], tuple(state["rollback_ids"])
    )


def step(
    state: State, event: Happened, terms: Terms, parameters: Parameters, *, reviews: bool
) -> tuple[State, tuple[PriceUpdate, ...]]:
    """Take in what happened, then review the price, unless ``reviews`` is off; a rollback is done also then.

    A rollback comes after every decision before it, whichever clock was ahead; the same one twice is done once.
    """
    if event.what is None:
        return _rolled_back(state, event, terms, parameters)
    product, _ = rule.step(state.product, event.what, terms, parameters)
    known = micros(min(event.event_time, event.at))
    if isinstance(event.what, Sold):
        after = replace(state, product=product, demand_as_of=max(state.demand_as_of, known))
    else:
        after = replace(state, product=product, stock_as_of=max(state.stock_as_of, known))
    if not reviews:
        return after, ()
    review = Review(event.at, event.product_id, from_micros(after.demand_as_of), from_micros(after.stock_as_of))
    product, updates = rule.step(after.product, review, terms, parameters)
    return replace(after, product=product), updates


def _rolled_back(
    state: State, event: Happened, terms: Terms, parameters: Parameters
) -> tuple[State, tuple[PriceUpdate, ...]]:
    if event.event_id in state.rollback_ids:
        return state, ()
    controlled = state.product.controlled_at
    time = event.at if controlled is None else max(event.at, from_micros(controlled) + _MICROSECOND)
    product, updates = rule.step(state.product, Rollback(time, event.product_id), terms, parameters)
    ids = (*state.rollback_ids, event.event_id)[-_MOST_ROLLBACK_IDS:]
    return replace(state, product=product, rollback_ids=ids), updates
