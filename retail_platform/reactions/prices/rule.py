"""The rule of ``price-updates``; its key is ``product_id``.

Sales and stock levels are taken in as they come; a price is decided at a ``Review`` only, which says how far demand and
stock are known. No event of a key names a person, so no price can be one's own. Prices are in US dollars.

Reviews and rollbacks (controls) must come in the order of their times: one at or before the last changes nothing, so a
duplicate never does. A duplicate sale is told by its id, a stock level by its revision.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

from retail_platform.reactions.events import Transaction
from retail_platform.reactions.outputs import evidence, from_micros, micros, output_id, rfc3339
from retail_platform.reactions.prices.elasticity import Elasticity, shrunk
from retail_platform.reactions.prices.guardrails import Band, Guardrails, floor_and_ceiling, reachable, with_ending
from retail_platform.reactions.prices.target import cover_factor, markdown_price, optimal_price, weeks_of_cover
from retail_platform.reactions.stock.levels import StockLevel

TOPIC = "price-updates"

_DAY = dt.timedelta(hours=24)
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a price is decided from.

    - ``applies``: whether a decision sets the price; off, it is a recommendation.
    - ``guardrails``: the limits of every price.
    - ``pause_after_rollback``: how long no change follows a rollback, so that it is not undone by the next review.
    - ``least_change``: smaller ones, as a share, are not worth a new label; nor is one that brings it no nearer.
    - ``endings``: cents that a price ends in, where the guardrails leave one; any 9, so that a step is seldom cut short.
    - ``history_days``: business dates of sales that are kept; half a year, to see several prices.
    - ``demand_days``: the latest whole days that weekly demand is taken from.
    - ``least_observations``: days with sales below which the category's elasticity is used.
    - ``elasticity_variance``: τ², how the elasticities of a category's products differ; a deviation of 1.
    - ``cover_weeks``: the stock to have. ``cover_strength``: what twice as much takes off, as a share. ``most_for_cover``:
      the most that stock changes a price by.
    - ``most_changes``: latest changes kept; over a day's, which is at most eight with the rollbacks.
    - ``most_event_ids``: latest sales of the product that are told from their duplicates.
    - ``most_stores``: stores whose stock is added up, the ones heard of last.
    - ``timezone``: BUSINESS_TIMEZONE, whose dates are the days of demand.
    """

    version: str
    applies: bool = False
    guardrails: Guardrails = field(default_factory=Guardrails)
    pause_after_rollback: dt.timedelta = dt.timedelta(hours=24)
    least_change: Decimal = Decimal("0.01")
    endings: tuple[int, ...] = (9, 19, 29, 39, 49, 59, 69, 79, 89, 99)
    history_days: int = 180
    demand_days: int = 28
    least_observations: int = 10
    elasticity_variance: float = 1.0
    cover_weeks: float = 4.0
    cover_strength: float = 0.1
    most_for_cover: float = 0.1
    most_changes: int = 20
    most_event_ids: int = 256
    most_stores: int = 500
    timezone: str = "UTC"


DEFAULT = Parameters(version="prices-1")

#: Mean of 1,851 price elasticities: Bijmolt, van Heerde and Pieters, "New empirical generalizations on the determinants
#: of price elasticity" (2005). For a category that has none of its own.
USUAL_ELASTICITY = -2.62


@dataclass(frozen=True, slots=True)
class Terms:
    """What the catalogue says of a product, in US dollars; ``ceiling`` and ``minimum_advertised_price`` where it has one.

    ``list_price`` is the price before any change. ``sell_by``: the last date to sell it, for what spoils.
    """

    unit_cost: Decimal
    list_price: Decimal
    minimum_advertised_price: Decimal | None = None
    ceiling: Decimal | None = None
    sell_by: dt.date | None = None
    category_elasticity: float = USUAL_ELASTICITY


@dataclass(frozen=True, slots=True)
class Sold:
    """Units of a product that a receipt holds, and what was paid for them in US dollars."""

    event_id: str
    event_time: dt.datetime
    product_id: str
    units: int
    amount_usd: Decimal


@dataclass(frozen=True, slots=True)
class Stocked:
    """The stock of the product in one store; the highest ``revision`` holds."""

    product_id: str
    store_id: str
    on_hand: int
    revision: int


@dataclass(frozen=True, slots=True)
class Review:
    """Decide now. ``demand_as_of`` and ``stock_as_of``: the times up to which sales and stock are known."""

    event_time: dt.datetime
    product_id: str
    demand_as_of: dt.datetime
    stock_as_of: dt.datetime


@dataclass(frozen=True, slots=True)
class Rollback:
    """Take the last change back. It comes at once, and within every limit but the time between changes."""

    event_time: dt.datetime
    product_id: str


Event = Sold | Stocked | Review | Rollback


def from_transaction(transaction: Transaction, usd_per_unit: Decimal | None) -> tuple[Sold, ...]:
    """The demand in a sale, one a product; none in a return, or without an exchange rate. Nothing of who bought."""
    if transaction.event_type != "sale" or usd_per_unit is None:
        return ()
    found: dict[str, Sold] = {}
    for line in transaction.lines:
        before = found.get(line.product_id)
        found[line.product_id] = Sold(
            transaction.event_id,
            transaction.event_time,
            line.product_id,
            line.quantity + (before.units if before else 0),
            line.amount * usd_per_unit + (before.amount_usd if before else Decimal(0)),
        )
    return tuple(found.values())


def from_level(level: StockLevel) -> Stocked:
    """A stock level as what a price needs of it."""
    return Stocked(level.product_id, level.store_id, level.on_hand, level.revision)


@dataclass(frozen=True, slots=True)
class Change:
    """A price that was set: when (microseconds), from what to what, and whether it took the one before back."""

    time: int
    old: Decimal
    new: Decimal
    rollback: bool


@dataclass(frozen=True, slots=True)
class Day:
    """A business date's sales of the product (a proleptic ordinal): units, and what was paid in US dollars."""

    date: int
    units: int
    amount_usd: Decimal


@dataclass(frozen=True, slots=True)
class State:
    """What is known of a product. Bounded by ``history_days``, ``most_stores``, ``most_changes``, ``most_event_ids``.

    ``controlled_at``: time of the last review or rollback (microseconds). ``sequence``: how many updates there were, and
    ``told`` what the last one said, so that it is not said again.
    """

    days: tuple[Day, ...] = ()
    stores: tuple[tuple[str, int, int], ...] = ()
    changes: tuple[Change, ...] = ()
    event_ids: tuple[str, ...] = ()
    controlled_at: int | None = None
    sequence: int = 0
    told: str = ""

    def packed(self) -> dict[str, Any]:
        """The state as JSON; money as text."""
        return {
            "days": [[day.date, day.units, str(day.amount_usd)] for day in self.days],
            "stores": [list(store) for store in self.stores],
            "changes": [[one.time, str(one.old), str(one.new), one.rollback] for one in self.changes],
            "event_ids": list(self.event_ids),
            "controlled_at": self.controlled_at,
            "sequence": self.sequence,
            "told": self.told,
        }


def unpacked(state: Mapping[str, Any] | None) -> State:
    """The state that :meth:`State.packed` wrote; empty where there is none."""
    if not state:
        return State()
    return State(
        days=tuple(Day(date, units, Decimal(amount)) for date, units, amount in state["days"]),
        stores=tuple((store, revision, on_hand) for store, revision, on_hand in state["stores"]),
        changes=tuple(Change(time, Decimal(old), Decimal(new), back) for time, old, new, back in state["changes"]),
        event_ids=tuple(state["event_ids"]),
        controlled_at=state["controlled_at"],
        sequence=state["sequence"],
        told=state["told"],
    )


@dataclass(frozen=True, slots=True)
class PriceUpdate:
    """A decision on a price: recommended, applied, rolled back; or withheld, once for each reason."""

    event_time: dt.datetime
    product_id: str
    sequence: int
    status: Literal["recommended", "applied", "rolled_back", "withheld"]
    current_price: Decimal
    price: Decimal | None
    reason: str
    band: Band
    parameters_version: str
    inputs: Mapping[str, Any]

    @property
    def effective_price(self) -> Decimal:
        """The price in effect after the decision."""
        if self.price is None or self.status == "recommended":
            return self.current_price
        return self.price

    def message(self) -> dict[str, Any]:
        """The event of ``price-updates``.

        - ``event_id``: UUID of product and sequence. ``event_time``: of the review or rollback.
        - ``product_id``: the Kafka key. ``sequence``: integer from 1, the newest wins.
        - ``status``: recommended, applied, rolled_back, withheld.
        - ``price``: what was decided, decimal(18,2) text in US dollars; null when withheld.
        - ``current_price``: the price before. ``effective_price``: the price in effect from now on. Likewise.
        - ``floor``, ``ceiling``: the limits that a new price must keep. Likewise.
        - ``reason``: what decided. Of a price: optimum, stock, sell_by, rollback. Of withholding: stale_demand,
          no_whole_day (the first day of sales is not over), stale_stock, too_soon, after_rollback, past_sell_by, limits,
          nothing_to_roll_back.
        - ``parameters_version``: of the rule.
        - ``evidence``: JSON of the inputs: target, elasticity and its weight and observations, weekly_demand, on_hand,
          weeks_of_cover; empty where none were looked at.
        """
        return {
            "event_id": output_id(TOPIC, self.product_id, self.sequence),
            "event_time": rfc3339(self.event_time),
            "product_id": self.product_id,
            "sequence": self.sequence,
            "status": self.status,
            "price": None if self.price is None else f"{self.price:f}",
            "current_price": f"{self.current_price:f}",
            "effective_price": f"{self.effective_price:f}",
            "floor": f"{self.band.low:f}",
            "ceiling": f"{self.band.high:f}",
            "reason": self.reason,
            "parameters_version": self.parameters_version,
            "evidence": evidence(**self.inputs),
        }


def step(
    state: State, event: Event, terms: Terms, parameters: Parameters = DEFAULT
) -> tuple[State, tuple[PriceUpdate, ...]]:
    """Take in demand or stock; or decide, at a review or a rollback."""
    match event:
        case Sold():
            return _sold(state, event, parameters), ()
        case Stocked():
            return _stocked(state, event, parameters), ()
        case Review() | Rollback():
            if state.controlled_at is not None and micros(event.event_time) <= state.controlled_at:
                return state, ()
            after = replace(state, controlled_at=micros(event.event_time))
            if isinstance(event, Rollback):
                return _rolled_back(after, event, terms, parameters)
            return _reviewed(after, event, terms, parameters)


def current_price(state: State, terms: Terms) -> Decimal:
    """The price in effect: of the last change, or the list price."""
    return state.changes[-1].new if state.changes else terms.list_price


@dataclass(frozen=True, slots=True)
class _Known:
    """What a review knows of demand and stock."""

    elasticity: Elasticity
    weekly_demand: float
    on_hand: int


def _reviewed(
    state: State, review: Review, terms: Terms, parameters: Parameters
) -> tuple[State, tuple[PriceUpdate, ...]]:
    current, band = current_price(state, terms), _band(terms, parameters)
    obstacle = _obstacle(state, review, terms, parameters)
    if obstacle:
        return _told(state, review, "withheld", current, None, obstacle, band, parameters, {})
    known = _known(state, review, terms, parameters)
    target, reason = _target(current, known, review, terms, parameters)
    cover = weeks_of_cover(known.on_hand, known.weekly_demand)
    inputs = {
        "target": target,
        "elasticity": round(known.elasticity.value, 4),
        "elasticity_weight": round(known.elasticity.weight, 4),
        "elasticity_observations": known.elasticity.observations,
        "weekly_demand": round(known.weekly_demand, 4),
        "on_hand": known.on_hand,
        "weeks_of_cover": None if cover is None else round(cover, 4),
    }
    allowed = reachable(band, current, _recent(state, review.event_time), parameters.guardrails)
    if target == current:
        return state, ()
    towards = (
        Band(max(allowed.low, current + _CENT), allowed.high)
        if target > current
        else Band(allowed.low, min(allowed.high, current - _CENT))
    )
    if towards.low > towards.high:
        return _told(state, review, "withheld", current, None, "limits", band, parameters, inputs)
    price = with_ending(target, towards, parameters.endings)
    nearer = abs(price - target) < abs(current - target)
    if not nearer or abs(price - current) < parameters.least_change * current:
        return state, ()
    if not parameters.applies:
        return _told(state, review, "recommended", current, price, reason, band, parameters, inputs)
    changed = _changed(state, Change(micros(review.event_time), current, price, rollback=False), parameters)
    return _told(changed, review, "applied", current, price, reason, band, parameters, inputs)


def _rolled_back(
    state: State, event: Rollback, terms: Terms, parameters: Parameters
) -> tuple[State, tuple[PriceUpdate, ...]]:
    current, band = current_price(state, terms), _band(terms, parameters)
    if not state.changes or state.changes[-1].rollback:
        return _told(state, event, "withheld", current, None, "nothing_to_roll_back", band, parameters, {})
    price = state.changes[-1].old
    if price not in reachable(band, current, _recent(state, event.event_time), parameters.guardrails):
        return _told(state, event, "withheld", current, None, "limits", band, parameters, {})
    changed = _changed(state, Change(micros(event.event_time), current, price, rollback=True), parameters)
    return _told(changed, event, "rolled_back", current, price, "rollback", band, parameters, {})


def _unknown(state: State, review: Review, parameters: Parameters) -> str | None:
    """What is not known of demand or stock, if so."""
    limits, now = parameters.guardrails, review.event_time
    if now - review.demand_as_of > limits.demand_fresh_for:
        return "stale_demand"
    today = _date(now, parameters).toordinal()
    if not any(day.date < today for day in state.days):
        return "no_whole_day"
    if not state.stores or now - review.stock_as_of > limits.stock_fresh_for:
        return "stale_stock"
    return None


def _obstacle(state: State, review: Review, terms: Terms, parameters: Parameters) -> str | None:
    """Why no price may be decided now, if so."""
    limits, now = parameters.guardrails, review.event_time
    unknown = _unknown(state, review, parameters)
    if unknown:
        return unknown
    if terms.sell_by is not None and terms.sell_by < _date(now, parameters):
        return "past_sell_by"
    if state.changes:
        last = state.changes[-1]
        since = now - from_micros(last.time)
        if last.rollback and since < parameters.pause_after_rollback:
            return "after_rollback"
        if since < limits.between_changes:
            return "too_soon"
    return None


def _target(
    current: Decimal, known: _Known, review: Review, terms: Terms, parameters: Parameters
) -> tuple[Decimal, str]:
    """The best price to the cent, and what decided it."""
    elasticity = known.elasticity.value
    best = optimal_price(float(terms.unit_cost), elasticity)
    price, reason = (float(current), "stock") if best is None else (best, "optimum")
    cover = weeks_of_cover(known.on_hand, known.weekly_demand)
    price *= cover_factor(cover, parameters.cover_weeks, parameters.cover_strength, parameters.most_for_cover)
    if terms.sell_by is not None:
        days_left = (terms.sell_by - _date(review.event_time, parameters)).days + 1
        marked_down = markdown_price(float(current), elasticity, known.on_hand, known.weekly_demand, days_left)
        if marked_down < min(price, float(current)):
            price, reason = marked_down, "sell_by"
    return Decimal(f"{price:.4f}").quantize(_CENT), reason


def _known(state: State, review: Review, terms: Terms, parameters: Parameters) -> _Known:
    today = _date(review.event_time, parameters).toordinal()
    observations = [
        (float(day.amount_usd / day.units), float(day.units))
        for day in state.days
        if day.date < today and day.amount_usd > 0
    ]
    elasticity = shrunk(
        observations, terms.category_elasticity, parameters.elasticity_variance, parameters.least_observations
    )
    on_hand = sum(max(units, 0) for _, _, units in state.stores)
    return _Known(elasticity, _weekly_demand(state.days, today, parameters.demand_days), on_hand)


def _weekly_demand(days: Sequence[Day], today: int, demand_days: int) -> float:
    """Units a week over the latest whole days; over a week at least, for a product that is new."""
    if not days:
        return 0.0
    length = min(demand_days, max(today - days[0].date, 7))
    return sum(day.units for day in days if today - length <= day.date < today) * 7 / length


def _band(terms: Terms, parameters: Parameters) -> Band:
    return floor_and_ceiling(
        terms.unit_cost, terms.minimum_advertised_price, terms.list_price, terms.ceiling, parameters.guardrails
    )


def _recent(state: State, now: dt.datetime) -> list[Decimal]:
    """The prices before the current one that were in effect within the last 24 hours."""
    return [change.old for change in state.changes if now - from_micros(change.time) < _DAY]


def _changed(state: State, change: Change, parameters: Parameters) -> State:
    return replace(state, changes=(*state.changes, change)[-parameters.most_changes :])


def _told(
    state: State,
    event: Review | Rollback,
    status: Literal["recommended", "applied", "rolled_back", "withheld"],
    current: Decimal,
    price: Decimal | None,
    reason: str,
    band: Band,
    parameters: Parameters,
    inputs: Mapping[str, Any],
) -> tuple[State, tuple[PriceUpdate, ...]]:
    """Say what was decided, unless it is what was said last."""
    told = f"{status} {price if price is not None else reason}"
    if told == state.told and status in ("recommended", "withheld"):
        return state, ()
    after = replace(state, sequence=state.sequence + 1, told=told)
    update = PriceUpdate(
        event_time=event.event_time,
        product_id=event.product_id,
        sequence=after.sequence,
        status=status,
        current_price=current,
        price=price,
        reason=reason,
        band=band,
        parameters_version=parameters.version,
        inputs=inputs,
    )
    return after, (update,)


def _sold(state: State, sold: Sold, parameters: Parameters) -> State:
    if sold.event_id in state.event_ids:
        return state
    date = _date(sold.event_time, parameters).toordinal()
    known = {day.date: day for day in state.days}
    day = known.get(date, Day(date, 0, Decimal(0)))
    known[date] = Day(date, day.units + sold.units, day.amount_usd + sold.amount_usd)
    first = max(known) - parameters.history_days + 1
    return replace(
        state,
        days=tuple(known[each] for each in sorted(known) if each >= first),
        event_ids=(*state.event_ids, sold.event_id)[-parameters.most_event_ids :],
    )


def _stocked(state: State, stocked: Stocked, parameters: Parameters) -> State:
    known = {store: (store, revision, on_hand) for store, revision, on_hand in state.stores}
    before = known.pop(stocked.store_id, None)
    if before is not None and before[1] >= stocked.revision:
        return state
    known[stocked.store_id] = (stocked.store_id, stocked.revision, stocked.on_hand)
    return replace(state, stores=tuple(known.values())[-parameters.most_stores :])


def _date(moment: dt.datetime, parameters: Parameters) -> dt.date:
    return moment.astimezone(ZoneInfo(parameters.timezone)).date()
