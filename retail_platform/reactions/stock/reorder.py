"""The rule of ``reorder-requests``: ask for an order when the stock position falls to the reorder point.

Its key is ``store_id:product_id`` and its events are the outputs of :mod:`levels` of that key. A level comes with a
rising revision, so one that comes again changes nothing, for ever.

A request opens a cycle; while it is open, what was asked for counts as on order and nothing more is asked. Receipts
close it, or its age does; a receipt of before the request does not, as it is not what was asked for.
Hysteresis: after a request, the next one needs the position to have been clearly above the
reorder point in between, or to be clearly below it now; a reorder point that moves around the position asks once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal
from zoneinfo import ZoneInfo

from retail_platform.errors import SettingsError
from retail_platform.reactions.outputs import evidence, from_micros, micros, output_id, rfc3339
from retail_platform.reactions.stock import demand
from retail_platform.reactions.stock.demand import Demand, History
from retail_platform.reactions.stock.levels import StockLevel
from retail_platform.reactions.stock.policy import (
    DAYS_A_YEAR,
    ReorderPoint,
    economic_order_quantity,
    order_quantity,
    reorder_point,
    stock_position,
)

TOPIC = "reorder-requests"


@dataclass(frozen=True, slots=True)
class Parameters:
    """The policy, and the supplier's terms; where a product has its own, it is called with its own parameters.

    - ``enabled``: the kill-switch, ``REORDERS``. Off: the demand is learnt, nothing is asked, no cycle opens.
    - ``service_level``: share of order cycles without a stock-out; 95 % is the usual target of general merchandise.
    - ``lead_time_days``, ``lead_time_deviation_days``: from request to receipt.
    - ``order_cost_usd``: of placing an order. ``holding_cost_usd``: of a unit for a year.
    - ``case_pack``, ``minimum_order``, ``maximum_order``: units. The maximum caps every request.
    - ``history_days``: whole days that the demand is estimated from; a quarter keeps to the season.
    - ``minimum_history_days``: nothing is asked from fewer observed days.
    - ``smoothing``: α of Croston; 0.05 to 0.2 in Syntetos and Boylan (2005).
    - ``intermittent_from``: mean days between days with demand (Syntetos, Boylan and Croston, 2005).
    - ``hysteresis``: the band on either side of the reorder point, as a share of it.
    - ``open_days``: after so many days without its receipt a request no longer counts as on order; the lead time and
      three and a half deviations.
    - ``timezone``: BUSINESS_TIMEZONE, whose dates are the days of demand.
    """

    version: str
    enabled: bool = True
    service_level: float = 0.95
    lead_time_days: float = 7.0
    lead_time_deviation_days: float = 2.0
    order_cost_usd: float = 50.0
    holding_cost_usd: float = 2.5
    case_pack: int = 1
    minimum_order: int = 1
    maximum_order: int = 10_000
    history_days: int = 90
    minimum_history_days: int = 14
    smoothing: float = 0.1
    intermittent_from: float = 1.32
    hysteresis: float = 0.1
    open_days: int = 14
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        """Refuse terms that no order could meet.

        Raises:
            SettingsError: the maximum order is below the minimum or below a case pack, or the service level is no share.
        """
        if self.maximum_order < max(self.minimum_order, self.case_pack):
            raise SettingsError("maximum_order must be at least minimum_order and case_pack; raise it")
        if not 0 < self.service_level < 1:
            raise SettingsError("service_level must be between 0 and 1, e.g. 0.95")


DEFAULT = Parameters(version="reorder-2")


@dataclass(frozen=True, slots=True)
class State:
    """What is known of one key; bounded by ``history_days`` of demand.

    ``revision``: of the last level. ``latest``: the latest time that an event of the key has told, which is its clock: one
    that comes late does not turn it back. ``cycle``: how many requests there were; ``opened_at`` when the last was opened by
    that clock, ``None`` once it is closed. ``armed``: whether the position was clearly above since. Times in microseconds.
    """

    revision: int = 0
    latest: int = 0
    on_order: int = 0
    cycle: int = 0
    opened_at: int | None = None
    armed: bool = True
    history: History = field(default_factory=History)

    def packed(self) -> dict[str, Any]:
        """The state as JSON."""
        return {
            "revision": self.revision,
            "latest": self.latest,
            "on_order": self.on_order,
            "cycle": self.cycle,
            "opened_at": self.opened_at,
            "armed": self.armed,
            "history": self.history.packed(),
        }


def unpacked(state: Mapping[str, Any] | None) -> State:
    """The state that :meth:`State.packed` wrote; empty where there is none."""
    return State(**{**state, "history": demand.unpacked(state["history"])}) if state else State()


@dataclass(frozen=True, slots=True)
class ReorderRequest:
    """A request to order ``quantity`` units of a product for a store; one a store, product and cycle."""

    event_time: dt.datetime
    store_id: str
    product_id: str
    cycle: int
    quantity: int
    position: int
    on_hand: int
    backorders: int
    reorder_point: float
    safety_stock: float
    economic_quantity: float
    demand_mean: float
    demand_deviation: float
    demand_method: str
    demand_days: int
    lead_time_days: float
    lead_time_deviation_days: float
    service_level: float
    order_cost_usd: float
    holding_cost_usd: float
    case_pack: int
    minimum_order: int
    maximum_order: int
    parameters_version: str
    status: Literal["requested", "held", "released"] = "requested"

    @property
    def request_id(self) -> str:
        """The natural key: ``store_id:product_id:cycle``."""
        return f"{self.store_id}:{self.product_id}:{self.cycle}"

    def packed(self) -> dict[str, Any]:
        """As JSON, for the way to its store's partition (``daily_limit``)."""
        return {**asdict(self), "event_time": micros(self.event_time)}

    def message(self) -> dict[str, Any]:
        """The event of ``reorder-requests``.

        - ``event_id``: UUID of store, product and cycle, and of its being released. ``event_time``: of the event that took
          the stock down; of a release, when it was asked for.
        - ``request_id``: ``store_id:product_id:cycle``, the Kafka key. ``store_id``, ``product_id``, ``cycle``.
        - ``status``: requested; held when it is over the day's limit and needs a person's release; released when it got it.
        - ``quantity``: units to order. ``position``: on hand + on order − backorders, in units.
        - ``on_hand``: units in the store, never negative. ``backorders``: units sold beyond them.
        - ``reorder_point``, ``safety_stock``, ``economic_quantity``: units, decimal text with 4 places.
        - ``demand_mean``, ``demand_deviation``: units a day, decimal text. ``demand_method``: mean, sba.
        - ``parameters_version``: of the policy.
        - ``evidence``: JSON of the other inputs: demand_days, and the supplier's terms by their names in ``Parameters``.
        """
        return {
            "event_id": output_id(
                TOPIC, self.store_id, self.product_id, self.cycle, *(["released"] if self.status == "released" else [])
            ),
            "event_time": rfc3339(self.event_time),
            "request_id": self.request_id,
            "store_id": self.store_id,
            "product_id": self.product_id,
            "cycle": self.cycle,
            "status": self.status,
            "quantity": self.quantity,
            "position": self.position,
            "on_hand": self.on_hand,
            "backorders": self.backorders,
            "reorder_point": f"{self.reorder_point:.4f}",
            "safety_stock": f"{self.safety_stock:.4f}",
            "economic_quantity": f"{self.economic_quantity:.4f}",
            "demand_mean": f"{self.demand_mean:.4f}",
            "demand_deviation": f"{self.demand_deviation:.4f}",
            "demand_method": self.demand_method,
            "parameters_version": self.parameters_version,
            "evidence": evidence(
                demand_days=self.demand_days,
                lead_time_days=self.lead_time_days,
                lead_time_deviation_days=self.lead_time_deviation_days,
                service_level=self.service_level,
                order_cost_usd=self.order_cost_usd,
                holding_cost_usd=self.holding_cost_usd,
                case_pack=self.case_pack,
                minimum_order=self.minimum_order,
                maximum_order=self.maximum_order,
            ),
        }


def unpacked_request(packed: Mapping[str, Any]) -> ReorderRequest:
    """What :meth:`ReorderRequest.packed` wrote."""
    return ReorderRequest(**{**packed, "event_time": from_micros(packed["event_time"])})


def step(state: State, level: StockLevel, parameters: Parameters = DEFAULT) -> tuple[State, tuple[ReorderRequest, ...]]:
    """Learn from a stock level, and ask for an order when it is time."""
    if level.revision <= state.revision:
        return state, ()
    after = _closed(_learnt(state, level, parameters), level, parameters)
    if after.opened_at is not None or not parameters.enabled:
        return after, ()
    known = _demand(after.history, parameters)
    if known is None:
        return after, ()
    point = reorder_point(
        known.mean,
        known.deviation,
        parameters.lead_time_days,
        parameters.lead_time_deviation_days,
        parameters.service_level,
    )
    position = _position(level, after)
    if position >= point.units * (1 + parameters.hysteresis):
        return replace(after, armed=True), ()
    due = position <= point.units * (1 if after.armed else 1 - parameters.hysteresis)
    request = _request(after, level, known, point, parameters) if due else None
    if request is None or not request.quantity:
        return after, ()
    opened = replace(
        after,
        cycle=request.cycle,
        on_order=request.quantity,
        opened_at=after.latest,
        armed=False,
    )
    return opened, (request,)


def _learnt(state: State, level: StockLevel, parameters: Parameters) -> State:
    day = level.event_time.astimezone(ZoneInfo(parameters.timezone)).date().toordinal()
    sold = -level.quantity if level.reason == "sale" else 0
    history = demand.recorded(state.history, day, sold, out=level.on_hand <= 0, most_days=parameters.history_days + 1)
    return replace(state, revision=level.revision, latest=max(state.latest, micros(level.event_time)), history=history)


def _closed(state: State, level: StockLevel, parameters: Parameters) -> State:
    """The open cycle after a receipt, or after its time."""
    if state.opened_at is None:
        return state
    expired = from_micros(state.latest) - from_micros(state.opened_at) > dt.timedelta(days=parameters.open_days)
    answers = level.reason == "receipt" and micros(level.event_time) > state.opened_at
    on_order = 0 if expired else max(0, state.on_order - (max(0, level.quantity) if answers else 0))
    return replace(state, on_order=on_order, opened_at=state.opened_at if on_order else None)


def _demand(history: History, parameters: Parameters) -> Demand | None:
    days = demand.observed(history)
    if len(days) < parameters.minimum_history_days:
        return None
    found = demand.estimated(days, parameters.smoothing, parameters.intermittent_from)
    return found if found and found.mean else None


def _position(level: StockLevel, state: State) -> int:
    return stock_position(max(level.on_hand, 0), state.on_order, max(-level.on_hand, 0))


def _request(
    state: State, level: StockLevel, known: Demand, point: ReorderPoint, parameters: Parameters
) -> ReorderRequest:
    position = _position(level, state)
    economic = economic_order_quantity(known.mean * DAYS_A_YEAR, parameters.order_cost_usd, parameters.holding_cost_usd)
    # One request is open at a time, so it must outlast its own lead time: to be clear of the reorder point once received.
    clear_after_receipt = point.units * (1 + parameters.hysteresis) + parameters.lead_time_days * known.mean
    return ReorderRequest(
        event_time=level.event_time,
        store_id=level.store_id,
        product_id=level.product_id,
        cycle=state.cycle + 1,
        quantity=order_quantity(
            max(economic, clear_after_receipt - position),
            parameters.case_pack,
            parameters.minimum_order,
            parameters.maximum_order,
        ),
        position=position,
        on_hand=max(level.on_hand, 0),
        backorders=max(-level.on_hand, 0),
        reorder_point=point.units,
        safety_stock=point.safety_stock,
        economic_quantity=economic,
        demand_mean=known.mean,
        demand_deviation=known.deviation,
        demand_method=known.method,
        demand_days=known.days,
        lead_time_days=parameters.lead_time_days,
        lead_time_deviation_days=parameters.lead_time_deviation_days,
        service_level=parameters.service_level,
        order_cost_usd=parameters.order_cost_usd,
        holding_cost_usd=parameters.holding_cost_usd,
        case_pack=parameters.case_pack,
        minimum_order=parameters.minimum_order,
        maximum_order=parameters.maximum_order,
        parameters_version=parameters.version,
    )
