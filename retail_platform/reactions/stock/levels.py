"""The rule of ``stock-levels``: the running stock of one product in one store; its key is ``store_id:product_id``.

Stock = the last count and all that moved after it, by event_time: sales take, returns and receipts add. A count replaces
what was known as of its own time, also when events from before it arrive later; what happened at its very instant
is taken as counted. Two counts at one instant: the one with the greater event_id holds.

To do so when events arrive in any order, a state keeps the latest changes one by one (``Parameters``); older ones are
folded into a level as of the newest of them. An event from before that is refused: it is no longer known whether it is
a duplicate, or whether a count has seen it. The next count mends what it would have changed; ``refused`` counts them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from retail_platform.reactions.events import Movement, Transaction
from retail_platform.reactions.outputs import from_micros, micros, output_id, rfc3339

TOPIC = "stock-levels"

Reason = Literal["sale", "return", "receipt", "adjustment", "shrinkage", "transfer_in", "transfer_out", "count"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """How much a state remembers one by one; beyond either bound an event is folded.

    - ``window``: how late an event may be, behind the newest of its key; a week covers a till that was offline over
      a long weekend.
    - ``most_changes``: how many changes are kept in that window, the latest ones; about 70 bytes each.
    """

    version: str
    window: dt.timedelta
    most_changes: int


DEFAULT = Parameters(version="levels-1", window=dt.timedelta(days=7), most_changes=256)


@dataclass(frozen=True, slots=True)
class StockEvent:
    """One change of one product's stock in one store. ``quantity``: signed units; for a count, what was counted."""

    event_id: str
    event_time: dt.datetime
    store_id: str
    product_id: str
    reason: Reason
    quantity: int

    @property
    def key(self) -> str:
        """The Kafka key of the stock it changes."""
        return f"{self.store_id}:{self.product_id}"

    def packed(self) -> dict[str, Any]:
        """As JSON, for the way to its key's partition."""
        return {
            "event_id": self.event_id,
            "event_time": micros(self.event_time),
            "store_id": self.store_id,
            "product_id": self.product_id,
            "reason": self.reason,
            "quantity": self.quantity,
        }


def unpacked_event(packed: Mapping[str, Any]) -> StockEvent:
    """What :meth:`StockEvent.packed` wrote."""
    return StockEvent(**{**packed, "event_time": from_micros(packed["event_time"])})


def from_movement(movement: Movement) -> StockEvent:
    """A stock movement as a change."""
    return StockEvent(
        movement.event_id,
        movement.event_time,
        movement.store_id,
        movement.product_id,
        movement.movement,
        movement.quantity,
    )


def from_transaction(transaction: Transaction) -> tuple[StockEvent, ...]:
    """The changes that a sale or return makes, one a product, in the order of the receipt.

    They are of the store that an online order is picked up in (``fulfilment_store_id``), otherwise of the store that
    made the sale; a return comes back to the same.
    """
    direction = -1 if transaction.event_type == "sale" else 1
    units: dict[str, int] = {}
    for line in transaction.lines:
        units[line.product_id] = units.get(line.product_id, 0) + direction * line.quantity
    store = transaction.fulfilment_store_id or transaction.store_id
    return tuple(
        StockEvent(transaction.event_id, transaction.event_time, store, product, transaction.event_type, quantity)
        for product, quantity in units.items()
    )


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A change in the window: sorted by time, and at one time counts last, so that they replace what is at it."""

    time: int
    counted: bool
    event_id: str
    quantity: int


@dataclass(frozen=True, slots=True)
class State:
    """The stock of one key: ``level`` as of ``folded_until`` (microseconds, ``None``: nothing folded), then ``changes``.

    Bounded by ``Parameters``: 256 changes by default. ``counted_at`` and ``counted`` are the last count that was
    folded; ``revision`` counts the events that were accepted, ``refused`` those that came too late.
    """

    level: int = 0
    folded_until: int | None = None
    counted_at: int | None = None
    counted: int | None = None
    changes: tuple[Change, ...] = ()
    revision: int = 0
    refused: int = 0

    def packed(self) -> dict[str, Any]:
        """The state as JSON; times in microseconds since 1970."""
        return {
            "level": self.level,
            "folded_until": self.folded_until,
            "counted_at": self.counted_at,
            "counted": self.counted,
            "changes": [[one.time, one.counted, one.event_id, one.quantity] for one in self.changes],
            "revision": self.revision,
            "refused": self.refused,
        }


def unpacked(state: Mapping[str, Any] | None) -> State:
    """The state that :meth:`State.packed` wrote; empty where there is none."""
    if not state:
        return State()
    return State(**{**state, "changes": tuple(Change(*one) for one in state["changes"])})


@dataclass(frozen=True, slots=True)
class StockLevel:
    """The stock of a store and product after an event; the highest ``revision`` of a key holds."""

    event_time: dt.datetime
    store_id: str
    product_id: str
    on_hand: int
    change: int
    reason: Reason
    quantity: int
    counted_at: dt.datetime | None
    counted_quantity: int | None
    revision: int
    refused: int

    def message(self) -> dict[str, Any]:
        """The event of ``stock-levels``.

        - ``event_id``: UUID of the key and revision. ``event_time``: of the event that was taken in.
        - ``stock_key``: ``store_id:product_id``, the Kafka key. ``store_id``, ``product_id``.
        - ``on_hand``: units in stock now; negative when more was sold than was known to be there.
        - ``change``: what the event changed ``on_hand`` by; 0 when a later count had seen it already.
        - ``reason``: sale, return, receipt, adjustment, shrinkage, transfer_in, transfer_out, count.
        - ``quantity``: the event's own units, signed; for a count, what was counted.
        - ``counted_at``, ``counted_quantity``: the last count, or null: then ``on_hand`` counts from 0.
        - ``revision``: integer from 1, the newest wins.
        - ``refused_events``: how many events of the key came too late to be taken in, so far.
        """
        return {
            "event_id": output_id(TOPIC, self.store_id, self.product_id, self.revision),
            "event_time": rfc3339(self.event_time),
            "stock_key": f"{self.store_id}:{self.product_id}",
            "store_id": self.store_id,
            "product_id": self.product_id,
            "on_hand": self.on_hand,
            "change": self.change,
            "reason": self.reason,
            "quantity": self.quantity,
            "counted_at": None if self.counted_at is None else rfc3339(self.counted_at),
            "counted_quantity": self.counted_quantity,
            "revision": self.revision,
            "refused_events": self.refused,
        }


def step(state: State, event: StockEvent, parameters: Parameters = DEFAULT) -> tuple[State, tuple[StockLevel, ...]]:
    """Take in a change. A duplicate of one that is still in the window changes nothing; an older one is refused."""
    change = Change(micros(event.event_time), event.reason == "count", event.event_id, event.quantity)
    if any(one.event_id == change.event_id for one in state.changes):
        return state, ()
    if state.folded_until is not None and change.time <= state.folded_until:
        return replace(state, refused=state.refused + 1), ()
    before = on_hand(state)
    taken = replace(state, changes=tuple(sorted((*state.changes, change))), revision=state.revision + 1)
    after = _folded(taken, parameters)
    counted_at, counted = _last_count(after)
    level = StockLevel(
        event_time=event.event_time,
        store_id=event.store_id,
        product_id=event.product_id,
        on_hand=on_hand(after),
        change=on_hand(after) - before,
        reason=event.reason,
        quantity=event.quantity,
        counted_at=None if counted_at is None else from_micros(counted_at),
        counted_quantity=counted,
        revision=after.revision,
        refused=after.refused,
    )
    return after, (level,)


def on_hand(state: State) -> int:
    """The units in stock."""
    level = state.level
    for change in state.changes:
        level = change.quantity if change.counted else level + change.quantity
    return level


def _folded(state: State, parameters: Parameters) -> State:
    """Fold what is over the bounds into the level."""
    oldest = state.changes[-1].time - parameters.window // dt.timedelta(microseconds=1)
    late = sum(change.time < oldest for change in state.changes)
    number = max(late, len(state.changes) - parameters.most_changes)
    if not number:
        return state
    folded, kept = replace(state, changes=state.changes[:number]), state.changes[number:]
    counted_at, counted = _last_count(folded)
    return replace(
        state,
        level=on_hand(folded),
        folded_until=max(folded.changes[-1].time, state.folded_until or 0),
        counted_at=counted_at,
        counted=counted,
        changes=kept,
    )


def _last_count(state: State) -> tuple[int | None, int | None]:
    counts = [change for change in state.changes if change.counted]
    return (counts[-1].time, counts[-1].quantity) if counts else (state.counted_at, state.counted)
