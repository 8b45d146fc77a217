"""When a price is reviewed live: at every sale and every stock level of the product, by the broker's time of that record.

By itself a product's events show no more than that sales are known up to its last sale, and stock up to its last level: one
that sold nothing for a day has stale demand. Whoever knows that all events of before a moment were read says so in a
review: then a day without a sale is a day of demand zero, and a product is marked down though nobody buys it.
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
class AllRead:
    """All that happened before the record's event_time has been read, of sales and of stock."""


@dataclass(frozen=True, slots=True)
class Happened:
    """A sale of the product, a stock level of it, a review, or a rollback that somebody asked for (``None``).

    ``at``: when the broker appended its record. ``event_time``: its own time. ``event_id``: of the record.
    """

    at: dt.datetime
    event_time: dt.datetime
    event_id: str
    product_id: str
    what: Sold | Stocked | AllRead | None

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
            case AllRead():
                packed["all_read"] = True
        return packed


def unpacked_event(packed: Mapping[str, Any]) -> Happened:
    """What :meth:`Happened.packed` wrote."""
    event_id, product = packed["event_id"], packed["product_id"]
    time = from_micros(packed["event_time"])
    what: Sold | Stocked | AllRead | None = None
    if "sold" in packed:
        units, amount = packed["sold"]
        what = Sold(event_id, time, product, units, Decimal(amount))
    elif "stocked" in packed:
        what = Stocked(product, *packed["stocked"])
    elif "all_read" in packed:
        what = AllRead()
    return Happened(from_micros(packed["at"]), time, event_id, product, what)


def from_sold(sold: Sold, at: dt.datetime) -> Happened:
    """A sale whose record was appended at that time."""
    return Happened(at, sold.event_time, sold.event_id, sold.product_id, sold)


def from_level(event: Mapping[str, Any], at: dt.datetime) -> Happened:
    """A valid event of ``stock-levels``, as :class:`Judgement.event` holds it."""
    product = event["product_id"]
    stocked = Stocked(product, event["store_id"], int(event["on_hand"]), int(event["revision"]))
    return Happened(at, moment(event["event_time"]), event["event_id"], product, stocked)


def from_review(event: Mapping[str, Any], at: dt.datetime) -> Happened:
    """A valid event of ``price-reviews``, likewise."""
    return Happened(at, moment(event["event_time"]), event["event_id"], event["product_id"], AllRead())


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
    after = _known(state, event, terms, parameters)
    if not reviews:
        return after, ()
    review = Review(event.at, event.product_id, from_micros(after.demand_as_of), from_micros(after.stock_as_of))
    product, updates = rule.step(after.product, review, terms, parameters)
    return replace(after, product=product), updates


def _known(state: State, event: Happened, terms: Terms, parameters: Parameters) -> State:
    """What is known of demand and stock after the event, and up to which times."""
    until = micros(min(event.event_time, event.at))
    demand, stock = max(state.demand_as_of, until), max(state.stock_as_of, until)
    match event.what:
        case Sold() as sold:
            return replace(state, product=rule.step(state.product, sold, terms, parameters)[0], demand_as_of=demand)
        case Stocked() as stocked:
            return replace(state, product=rule.step(state.product, stocked, terms, parameters)[0], stock_as_of=stock)
        case _:
            return replace(state, demand_as_of=demand, stock_as_of=stock)


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
