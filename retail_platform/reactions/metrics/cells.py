"""The cells of ``live-metrics``: a grain, its window and one value of one dimension; what an event adds to each.

What a figure means is what the daily KPIs mean by it (``dbt_project/models/marts/agg_daily_kpis.sql``), so the cells of a
closed day come to its row, to the cent.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal
from zoneinfo import ZoneInfo

from retail_platform.reactions.events import Line, Transaction
from retail_platform.reactions.metrics import customers
from retail_platform.reactions.metrics.customers import Customers, customer_hash
from retail_platform.reactions.outputs import from_micros, micros, output_id, rfc3339

TOPIC = "live-metrics"

Grain = Literal["minute", "hour", "day"]
Dimension = Literal["all", "channel", "store", "region", "category"]

#: The same words as in the warehouse (``stg_transaction_lines``).
NO_REGION, NO_CATEGORY = "unknown", "uncategorised"

_LONGER_GRAINS: tuple[Grain, ...] = ("hour", "day")
_CENT = Decimal("0.01")
# Wide enough for every sum of decimal(18,4) lines at rates of 8 decimals; one that is not exact is an error.
_EXACT = decimal.Context(prec=80, traps=[decimal.Inexact, decimal.InvalidOperation])
_ROUNDED = decimal.Context(prec=80, rounding=decimal.ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure's place. ``start`` inclusive and ``end`` exclusive, in UTC; ``business_date`` is the start's.

    Minutes and hours are UTC's, as in ``agg_hourly_orders``; days are those of BUSINESS_TIMEZONE. ``value`` is ``all``
    for the dimension ``all``.
    """

    grain: Grain
    start: dt.datetime
    end: dt.datetime
    business_date: dt.date
    dimension: Dimension
    value: str

    @property
    def key(self) -> str:
        """The Kafka key: ``<grain>:<window start>:<dimension>:<value>``."""
        return f"{self.grain}:{self.start:%Y-%m-%dT%H:%M:%SZ}:{self.slice}"

    @property
    def slice(self) -> str:
        """What all grains and windows of the same figure share: ``<dimension>:<value>``."""
        return f"{self.dimension}:{self.value}"


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one event, or several together, add to one cell.

    ``event_time`` is the latest event's. ``revenue_usd`` is sales less returns, exact, of the ``events`` that have an
    exchange rate; ``unrated`` counts those that have none. ``units`` are sold less returned.
    """

    cell: Cell
    event_time: dt.datetime
    orders: int
    returns: int
    units: int
    revenue_usd: Decimal
    unrated: int
    customers: frozenset[int]

    def packed(self) -> dict[str, Any]:
        """As JSON, for the way to the cell's partition."""
        cell = self.cell
        return {
            "cell": [
                cell.grain,
                micros(cell.start),
                micros(cell.end),
                cell.business_date.isoformat(),
                cell.dimension,
                cell.value,
            ],
            "event_time": micros(self.event_time),
            "figures": [self.orders, self.returns, self.units, str(self.revenue_usd), self.unrated],
            "customers": sorted(self.customers),
        }


def unpacked_contribution(packed: Mapping[str, Any]) -> Contribution:
    """What :meth:`Contribution.packed` wrote."""
    grain, start, end, date, dimension, value = packed["cell"]
    orders, returns, units, revenue, unrated = packed["figures"]
    return Contribution(
        Cell(grain, from_micros(start), from_micros(end), dt.date.fromisoformat(date), dimension, value),
        from_micros(packed["event_time"]),
        orders,
        returns,
        units,
        Decimal(revenue),
        unrated,
        frozenset(packed["customers"]),
    )


def contributions(
    transaction: Transaction, usd_per_unit: Decimal | None, timezone: ZoneInfo
) -> tuple[Contribution, ...]:
    """What an event adds to the cells of its minute: by all, channel, store, region, and each category of its lines.

    ``usd_per_unit`` is the rate of its currency on its business date, at most eight decimals; ``None`` when there is
    none: the cell then shows no revenue rather than too little. ``timezone`` is BUSINESS_TIMEZONE. In a category, an
    order is one that has a line in it, so categories may have more orders together than ``all``.
    """
    slices: list[tuple[Dimension, str, tuple[Line, ...]]] = [
        ("all", "all", transaction.lines),
        ("channel", transaction.channel, transaction.lines),
        ("store", transaction.store_id, transaction.lines),
        ("region", transaction.region or NO_REGION, transaction.lines),
    ]
    by_category: dict[str, list[Line]] = {}
    for line in transaction.lines:
        by_category.setdefault(line.category or NO_CATEGORY, []).append(line)
    slices += [("category", name, tuple(lines)) for name, lines in sorted(by_category.items())]
    window = _window("minute", transaction.event_time, timezone)
    return tuple(
        _figures(transaction, lines, usd_per_unit, replace(window, dimension=dimension, value=value))
        for dimension, value, lines in slices
    )


def rolled_up(minute: Contribution, timezone: ZoneInfo) -> tuple[Contribution, ...]:
    """What is added to the cell of a minute, and so to those of its hour and its day: no clock changes within a minute."""
    cell = minute.cell
    return (
        minute,
        *(
            replace(
                minute, cell=replace(_window(grain, cell.start, timezone), dimension=cell.dimension, value=cell.value)
            )
            for grain in _LONGER_GRAINS
        ),
    )


def combined(found: Iterable[Contribution]) -> tuple[Contribution, ...]:
    """The same, one a cell: so that many events cross the network once for each cell that they touch."""
    together: dict[Cell, list[Contribution]] = {}
    for one in found:
        together.setdefault(one.cell, []).append(one)
    return tuple(ones[0] if len(ones) == 1 else _sum(ones) for ones in together.values())


@dataclass(frozen=True, slots=True)
class State:
    """A cell's figures so far; bounded by its customers (2 KiB)."""

    orders: int = 0
    returns: int = 0
    units: int = 0
    revenue_usd: Decimal = Decimal(0)
    unrated: int = 0
    customers: Customers = field(default_factory=Customers)

    @property
    def revision(self) -> int:
        """How many events the cell counts: in whatever portions they come, a number stands for as many of them."""
        return self.orders + self.returns

    def packed(self) -> dict[str, Any]:
        """The state as JSON; money as text."""
        return {
            "figures": [self.orders, self.returns, self.units, str(self.revenue_usd), self.unrated],
            "customers": self.customers.packed(),
        }


def unpacked(state: Mapping[str, Any] | None) -> State:
    """The state that :meth:`State.packed` wrote; empty where there is none."""
    if not state:
        return State()
    orders, returns, units, revenue, unrated = state["figures"]
    return State(orders, returns, units, Decimal(revenue), unrated, customers.unpacked(state["customers"]))


@dataclass(frozen=True, slots=True)
class LiveMetric:
    """A cell's figures after an event; the highest ``revision`` of a key is the cell's value.

    ``revenue_usd_exact`` is ``None`` while an event of the cell has no exchange rate: it never vanishes from a sum.
    """

    cell: Cell
    event_time: dt.datetime
    revision: int
    orders: int
    returns: int
    units: int
    customers: int
    customers_exact: bool
    revenue_usd_exact: Decimal | None

    @property
    def revenue_usd(self) -> Decimal | None:
        """Sales less returns in US dollars, rounded half up to the cent, once."""
        return None if self.revenue_usd_exact is None else self.revenue_usd_exact.quantize(_CENT, context=_ROUNDED)

    @property
    def avg_order_value_usd(self) -> Decimal | None:
        """Unrounded revenue by orders, to the cent; ``None`` without orders or without a known revenue."""
        if self.revenue_usd_exact is None or not self.orders:
            return None
        return _ROUNDED.divide(self.revenue_usd_exact, Decimal(self.orders)).quantize(_CENT, context=_ROUNDED)

    def message(self) -> dict[str, Any]:
        """The event of ``live-metrics``.

        - ``event_id``: UUID of the cell and revision. ``event_time``: the event's that changed it.
        - ``metric_key``: ``<grain>:<window_start>:<dimension>:<dimension_value>``, the Kafka key.
        - ``grain``: minute, hour, day. ``window_start``, ``window_end``: RFC 3339, the end exclusive.
        - ``window_date``: the window start's date in BUSINESS_TIMEZONE.
        - ``dimension``: all, channel, store, region, category. ``dimension_value``: its value, or ``all``.
        - ``revision``: how many events the cell counts; the highest is its value.
        - ``orders``: sales. ``returns``: returns. ``units``: sold less returned. ``customers``: distinct known ones.
        - ``customers_method``: exact, or estimated (HyperLogLog, standard error 2.3 %) beyond 256.
        - ``revenue_usd``: sales less returns, decimal(18,2) as text; null while an exchange rate is missing.
        - ``revenue_usd_exact``: the same unrounded, decimal(38,12) as text, or null.
        - ``avg_order_value_usd``: decimal(18,2) as text; null without orders or without a revenue.
        """
        return {
            "event_id": output_id(TOPIC, self.cell.key, self.revision),
            "event_time": rfc3339(self.event_time),
            "metric_key": self.cell.key,
            "grain": self.cell.grain,
            "window_start": rfc3339(self.cell.start),
            "window_end": rfc3339(self.cell.end),
            "window_date": self.cell.business_date.isoformat(),
            "dimension": self.cell.dimension,
            "dimension_value": self.cell.value,
            "revision": self.revision,
            "orders": self.orders,
            "returns": self.returns,
            "units": self.units,
            "customers": self.customers,
            "customers_method": "exact" if self.customers_exact else "estimated",
            "revenue_usd": _text(self.revenue_usd),
            "revenue_usd_exact": _text(self.revenue_usd_exact),
            "avg_order_value_usd": _text(self.avg_order_value_usd),
        }


def step(state: State, added: Contribution) -> tuple[State, tuple[LiveMetric, ...]]:
    """Add to a cell, however late. The order does not matter; an event must come once (``metrics.duplicates``)."""
    after = State(
        orders=state.orders + added.orders,
        returns=state.returns + added.returns,
        units=state.units + added.units,
        revenue_usd=_EXACT.add(state.revenue_usd, added.revenue_usd),
        unrated=state.unrated + added.unrated,
        customers=state.customers.added(added.customers),
    )
    metric = LiveMetric(
        cell=added.cell,
        event_time=added.event_time,
        revision=after.revision,
        orders=after.orders,
        returns=after.returns,
        units=after.units,
        customers=after.customers.count(),
        customers_exact=after.customers.exact,
        revenue_usd_exact=None if after.unrated else after.revenue_usd,
    )
    return after, (metric,)


def _figures(
    transaction: Transaction, lines: tuple[Line, ...], usd_per_unit: Decimal | None, cell: Cell
) -> Contribution:
    sale = transaction.event_type == "sale"
    direction = 1 if sale else -1
    amount = sum((line.amount for line in lines), Decimal(0))
    known = frozenset([customer_hash(transaction.customer_id)] if transaction.customer_id else [])
    return Contribution(
        cell=cell,
        event_time=transaction.event_time,
        orders=int(sale),
        returns=int(not sale),
        units=direction * sum(line.quantity for line in lines),
        revenue_usd=_EXACT.multiply(direction * amount, usd_per_unit or Decimal(0)),
        unrated=int(usd_per_unit is None),
        customers=known,
    )


def _window(grain: Grain, moment: dt.datetime, timezone: ZoneInfo) -> Cell:
    date = moment.astimezone(timezone).date()
    if grain == "day":
        return Cell(grain, _midnight(date, timezone), _midnight(date + dt.timedelta(1), timezone), date, "all", "all")
    start = moment.astimezone(dt.UTC).replace(second=0, microsecond=0)
    if grain == "hour":
        start = start.replace(minute=0)
    end = start + (dt.timedelta(hours=1) if grain == "hour" else dt.timedelta(minutes=1))
    return Cell(grain, start, end, start.astimezone(timezone).date(), "all", "all")


def _midnight(date: dt.date, timezone: ZoneInfo) -> dt.datetime:
    return dt.datetime.combine(date, dt.time(), timezone).astimezone(dt.UTC)


def _sum(ones: Sequence[Contribution]) -> Contribution:
    return Contribution(
        cell=ones[0].cell,
        event_time=max(one.event_time for one in ones),
        orders=sum(one.orders for one in ones),
        returns=sum(one.returns for one in ones),
        units=sum(one.units for one in ones),
        revenue_usd=functools.reduce(_EXACT.add, (one.revenue_usd for one in ones)),
        unrated=sum(one.unrated for one in ones),
        customers=frozenset[int]().union(*(one.customers for one in ones)),
    )


def _text(amount: Decimal | None) -> str | None:
    return None if amount is None else f"{amount:f}"
