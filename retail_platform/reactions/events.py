"""The events that reactions read, typed: a transaction with its lines, and a stock movement.

They come from :func:`retail_platform.contracts.judge.judge`, so what is refused in silver reaches no rule either.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from retail_platform.contracts.judge import instant


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a receipt. ``quantity`` in units, positive; money in the transaction's currency."""

    product_id: str
    category: str | None
    quantity: int
    unit_price: Decimal
    discount: Decimal

    @property
    def amount(self) -> Decimal:
        """What the line costs: quantity × unit_price − discount."""
        return self.quantity * self.unit_price - self.discount


@dataclass(frozen=True, slots=True)
class Transaction:
    """One valid sale or return (contract ``retail.transaction.v1``). ``event_time`` is in UTC, with its zone."""

    event_id: str
    event_type: Literal["sale", "return"]
    transaction_id: str
    event_time: dt.datetime
    channel: Literal["pos", "ecommerce"]
    store_id: str
    currency: str
    lines: tuple[Line, ...]
    fulfilment_store_id: str | None = None
    register_id: str | None = None
    customer_id: str | None = None
    method: str = "card"
    card_token: str | None = None
    country: str = ""
    region: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    original_transaction_id: str | None = None

    @property
    def amount(self) -> Decimal:
        """What was paid or paid back, in ``currency``; positive for returns too."""
        return sum((line.amount for line in self.lines), Decimal(0))


@dataclass(frozen=True, slots=True)
class Movement:
    """One valid stock movement (contract ``retail.inventory.v1``). ``quantity`` is signed; for a count, what was counted."""

    event_id: str
    event_time: dt.datetime
    store_id: str
    product_id: str
    movement: Literal["receipt", "adjustment", "shrinkage", "transfer_in", "transfer_out", "count"]
    quantity: int
    reference: str | None = None


def transaction(event: Mapping[str, Any]) -> Transaction:
    """A valid event of the transactions topic, as :class:`Judgement.event` holds it, typed."""
    payment, place = event["payment"], event["location"]
    return Transaction(
        event_id=event["event_id"].lower(),
        event_type=event["event_type"],
        transaction_id=event["transaction_id"],
        event_time=moment(event["event_time"]),
        channel=event["channel"],
        store_id=event["store_id"],
        currency=event["currency"],
        lines=tuple(
            Line(
                line["product_id"],
                line["category"],
                int(line["quantity"]),
                Decimal(line["unit_price"]),
                Decimal(line["discount"]),
            )
            for line in event["items"]
        ),
        fulfilment_store_id=event["fulfilment_store_id"],
        register_id=event["register_id"],
        customer_id=event["customer_id"],
        method=payment["method"],
        card_token=payment["card_token"],
        country=place["country"],
        region=place["region"],
        latitude=_degrees(place["latitude"]),
        longitude=_degrees(place["longitude"]),
        original_transaction_id=event["original_transaction_id"],
    )


def movement(event: Mapping[str, Any]) -> Movement:
    """A valid event of the inventory topic, as :class:`Judgement.event` holds it, typed."""
    return Movement(
        event_id=event["event_id"].lower(),
        event_time=moment(event["event_time"]),
        store_id=event["store_id"],
        product_id=event["product_id"],
        movement=event["movement"],
        quantity=int(event["quantity"]),
        reference=event["reference"],
    )


def moment(text: str) -> dt.datetime:
    """The instant in a valid event's text, in UTC with its zone."""
    found = instant(text)
    if found is None:
        raise ValueError(f"{text!r} is no instant; only a valid event may come here")
    return found


def _degrees(text: str | None) -> float | None:
    return None if text is None else float(text)
