"""The rule of ``customer-segments``; its key is ``customer_id``.

Over the 365 business dates up to a date: recency, days since the last sale; frequency, sales; monetary, sales less
returns in US dollars, exact. The date is the latest that the customer's events have shown, a ``Refresh`` among them: send
one after midnight, or after new cut-offs, and the live segment is that of the batch.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

from retail_platform.reactions.events import Transaction, moment
from retail_platform.reactions.outputs import evidence, from_micros, micros, output_id, rfc3339
from retail_platform.reactions.segments.quintiles import TILES, Cutoffs, Place, tile

TOPIC = "customer-segments"

Segment = Literal["champions", "loyal", "new", "needs_attention", "at_risk", "cant_lose", "hibernating"]

_CENT = Decimal("0.01")
# Wide enough for every sum of decimal(18,4) lines at rates of 8 decimals; one that is not exact is an error.
_EXACT = decimal.Context(prec=80, traps=[decimal.Inexact, decimal.InvalidOperation])
_ROUNDED = decimal.Context(prec=80, rounding=decimal.ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a segment is decided from.

    - ``days``: business dates that count, the current one among them; a year, so that every season is in it once.
    - ``high``: a score from here on is high (4 of 5: the best two fifths). ``middle``: from here on it is not low.
    - ``most_event_ids``: how many of the customer's latest events are told from their duplicates; more than a customer's
      year.
    - ``timezone``: BUSINESS_TIMEZONE.
    """

    version: str
    days: int = 365
    high: int = 4
    middle: int = 3
    most_event_ids: int = 256
    timezone: str = "UTC"


DEFAULT = Parameters(version="segments-1")


@dataclass(frozen=True, slots=True)
class Purchase:
    """A customer's sale (``orders`` 1) or return (0). ``amount_usd``: exact, below zero for a return."""

    event_id: str
    event_time: dt.datetime
    customer_id: str
    orders: int
    amount_usd: Decimal

    def packed(self) -> dict[str, Any]:
        """As JSON, for the way to the customer's partition."""
        return {
            "event_id": self.event_id,
            "event_time": micros(self.event_time),
            "customer_id": self.customer_id,
            "orders": self.orders,
            "amount_usd": str(self.amount_usd),
        }


@dataclass(frozen=True, slots=True)
class Refresh:
    """Time has passed, or the cut-offs are new: decide again as of ``event_time``."""

    event_time: dt.datetime
    customer_id: str

    def packed(self) -> dict[str, Any]:
        """As JSON, for the way to the customer's partition."""
        return {"event_time": micros(self.event_time), "customer_id": self.customer_id}


def unpacked_event(packed: Mapping[str, Any]) -> Purchase | Refresh:
    """What :meth:`Purchase.packed` or :meth:`Refresh.packed` wrote."""
    time, customer_id = from_micros(packed["event_time"]), packed["customer_id"]
    if "event_id" not in packed:
        return Refresh(time, customer_id)
    return Purchase(packed["event_id"], time, customer_id, packed["orders"], Decimal(packed["amount_usd"]))


def from_message(event: Mapping[str, Any]) -> Refresh:
    """A valid event of ``customer-refreshes``, as :class:`Judgement.event` holds it."""
    return Refresh(moment(event["event_time"]), event["customer_id"])


def from_transaction(transaction: Transaction, usd_per_unit: Decimal | None) -> Purchase | None:
    """A transaction as its customer's purchase; ``None`` without a known customer, or without an exchange rate.

    A currency without a rate also fails the day's KPI check, by name.
    """
    if transaction.customer_id is None or usd_per_unit is None:
        return None
    sale = transaction.event_type == "sale"
    amount = _EXACT.multiply(transaction.amount if sale else -transaction.amount, usd_per_unit)
    return Purchase(transaction.event_id, transaction.event_time, transaction.customer_id, int(sale), amount)


@dataclass(frozen=True, slots=True)
class Day:
    """One business date (a proleptic ordinal) of a customer: sales, and sales less returns in US dollars."""

    date: int
    orders: int
    amount_usd: Decimal


@dataclass(frozen=True, slots=True)
class State:
    """A customer's days with purchases, oldest first: at most 365; and the latest event_ids: at most 256.

    ``as_of``: the latest business date seen, 0 before any. ``segment``: the last that was told, of ``revision``.
    """

    as_of: int = 0
    days: tuple[Day, ...] = ()
    event_ids: tuple[str, ...] = ()
    segment: Segment | None = None
    revision: int = 0

    def packed(self) -> dict[str, Any]:
        """The state as JSON; money as text."""
        return {
            "as_of": self.as_of,
            "days": [[day.date, day.orders, str(day.amount_usd)] for day in self.days],
            "event_ids": list(self.event_ids),
            "segment": self.segment,
            "revision": self.revision,
        }


def unpacked(state: Mapping[str, Any] | None) -> State:
    """The state that :meth:`State.packed` wrote; empty where there is none."""
    if not state:
        return State()
    days = tuple(Day(date, orders, Decimal(amount)) for date, orders, amount in state["days"])
    return State(state["as_of"], days, tuple(state["event_ids"]), state["segment"], state["revision"])


@dataclass(frozen=True, slots=True)
class Rfm:
    """A customer's measures as of a date, and their scores: 1, the worst fifth, to 5, the best."""

    recency_days: int
    orders: int
    revenue_usd: Decimal
    recency: int
    frequency: int
    monetary: int


@dataclass(frozen=True, slots=True)
class SegmentChange:
    """A customer's segment is another than before; ``rfm`` is ``None`` for who has no sale in the window."""

    event_time: dt.datetime
    customer_id: str
    as_of: dt.date
    segment: Segment
    previous: Segment | None
    revision: int
    rfm: Rfm | None
    cutoffs_version: str
    parameters_version: str

    def message(self) -> dict[str, Any]:
        """The event of ``customer-segments``.

        - ``event_id``: UUID of customer and revision. ``event_time``: of the event that changed the segment.
        - ``customer_id``: the Kafka key. ``as_of``: the business date it holds for.
        - ``segment``: champions, loyal, new, needs_attention, at_risk, cant_lose, hibernating.
        - ``previous_segment``: likewise, or null the first time. ``revision``: integer from 1, the newest wins.
        - ``recency_days``: days since the last sale. ``orders``: sales in the window. Null without a sale in it.
        - ``revenue_usd``: sales less returns in the window, decimal(18,2) as text, or null likewise.
        - ``recency_score``, ``frequency_score``, ``monetary_score``: 1 to 5, 5 the best, or null likewise.
        - ``cutoffs_version``: of the nightly table. ``parameters_version``: of the rule.
        - ``evidence``: JSON with the unrounded ``revenue_usd``, or null.
        """
        rfm = self.rfm
        return {
            "event_id": output_id(TOPIC, self.customer_id, self.revision),
            "event_time": rfc3339(self.event_time),
            "customer_id": self.customer_id,
            "as_of": self.as_of.isoformat(),
            "segment": self.segment,
            "previous_segment": self.previous,
            "revision": self.revision,
            "recency_days": rfm and rfm.recency_days,
            "orders": rfm and rfm.orders,
            "revenue_usd": rfm and f"{rfm.revenue_usd.quantize(_CENT, context=_ROUNDED):f}",
            "recency_score": rfm and rfm.recency,
            "frequency_score": rfm and rfm.frequency,
            "monetary_score": rfm and rfm.monetary,
            "cutoffs_version": self.cutoffs_version,
            "parameters_version": self.parameters_version,
            "evidence": evidence(revenue_usd=rfm and f"{rfm.revenue_usd:f}"),
        }


def step(
    state: State, event: Purchase | Refresh, cutoffs: Cutoffs | None, parameters: Parameters = DEFAULT
) -> tuple[State, tuple[SegmentChange, ...]]:
    """Take in a purchase, or the passing of time; say so when the segment changes. A duplicate changes nothing.

    Before there are cut-offs the year is kept and nothing is said: nobody can be told from the others.
    """
    date = event.event_time.astimezone(ZoneInfo(parameters.timezone)).date().toordinal()
    if isinstance(event, Purchase):
        if event.event_id in state.event_ids:
            return state, ()
        state = _taken(state, event, date, parameters)
    first = max(state.as_of, date) - parameters.days + 1
    state = replace(state, as_of=max(state.as_of, date), days=tuple(day for day in state.days if day.date >= first))
    if cutoffs is None:
        return state, ()
    rfm = measured(state, event.customer_id, cutoffs)
    segment = named(rfm, parameters) if rfm else "hibernating"
    if segment == state.segment or (rfm is None and state.segment is None):
        return state, ()
    after = replace(state, segment=segment, revision=state.revision + 1)
    change = SegmentChange(
        event_time=event.event_time,
        customer_id=event.customer_id,
        as_of=dt.date.fromordinal(after.as_of),
        segment=segment,
        previous=state.segment,
        revision=after.revision,
        rfm=rfm,
        cutoffs_version=cutoffs.version,
        parameters_version=parameters.version,
    )
    return after, (change,)


def measured(state: State, customer_id: str, cutoffs: Cutoffs) -> Rfm | None:
    """A customer's measures and scores as of the state's date; ``None`` without a sale in the window.

    Who bought last has the lowest recency and the best score for it.
    """
    sales = [day.date for day in state.days if day.orders]
    if not sales:
        return None
    recency_days = state.as_of - max(sales)
    orders = sum(day.orders for day in state.days)
    revenue = Decimal(0)
    for day in state.days:
        revenue = _EXACT.add(revenue, day.amount_usd)

    def score(bounds: tuple[Place, ...], value: int | Decimal) -> int:
        return tile(bounds, (Decimal(value), customer_id))

    return Rfm(
        recency_days,
        orders,
        revenue,
        recency=TILES + 1 - score(cutoffs.recency, recency_days),
        frequency=score(cutoffs.frequency, orders),
        monetary=score(cutoffs.monetary, revenue),
    )


def named(rfm: Rfm, parameters: Parameters = DEFAULT) -> Segment:
    """The segment of three scores; every combination has one.

    The names are those in common use for RFM grids; the lines between them are this project's, fixed here.
    """
    recent, lately = rfm.recency >= parameters.high, rfm.recency >= parameters.middle
    often = rfm.frequency >= parameters.middle
    best = rfm.frequency >= parameters.high and rfm.monetary >= parameters.high
    if best and recent:
        return "champions"
    if best and not lately:
        return "cant_lose"
    if often:
        return "loyal" if lately else "at_risk"
    if recent:
        return "new"
    return "needs_attention" if lately else "hibernating"


def _taken(state: State, purchase: Purchase, date: int, parameters: Parameters) -> State:
    known = {day.date: day for day in state.days}
    day = known.get(date, Day(date, 0, Decimal(0)))
    known[date] = Day(date, day.orders + purchase.orders, _EXACT.add(day.amount_usd, purchase.amount_usd))
    return replace(
        state,
        days=tuple(known[each] for each in sorted(known)),
        event_ids=(*state.event_ids, purchase.event_id)[-parameters.most_event_ids :],
    )
