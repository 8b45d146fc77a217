"""What is remembered of a card: its newest purchases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from retail_platform.reactions.events import Transaction
from retail_platform.reactions.outputs import micros

#: Microseconds in a second: times in states are integers of microseconds since 1970-01-01 UTC.
SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Purchase:
    """One sale on the card.

    ``time`` in microseconds since 1970-01-01 UTC. ``device``: the till, ``store_id:register_id``, or ``None`` where none
    is told. ``category``: the one that most of the receipt's money is for.
    ``amount_usd``: in US dollars, ``None`` where no exchange rate was known. ``latitude``, ``longitude`` in degrees where the
    card was present (channel ``pos``) and the place is told, else ``None``.
    """

    event_id: str
    time: int
    store_id: str
    device: str | None
    category: str | None
    amount_usd: Decimal | None
    latitude: float | None
    longitude: float | None

    @property
    def moment(self) -> tuple[int, str]:
        """Its place in event time, the same for everyone: by time, then by id."""
        return (self.time, self.event_id)


@dataclass(frozen=True, slots=True)
class State:
    """Purchases of one card in order of arrival.

    Bounded by ``Parameters.remembered`` purchases, the newest by arrival. A duplicate is told as long as fewer than that
    many other purchases with the card came after it, however long it took.
    """

    purchases: tuple[Purchase, ...] = ()

    def packed(self) -> dict[str, Any]:
        """The state as JSON: a list of values a purchase, money as text."""
        return {"purchases": [_packed(purchase) for purchase in self.purchases]}

    def knows(self, event_id: str) -> bool:
        """Whether the event is among those that are remembered."""
        return any(purchase.event_id == event_id for purchase in self.purchases)


def unpacked(packed: Mapping[str, Any] | None) -> State:
    """The state from its JSON; ``None`` is the state of a card never seen."""
    if packed is None:
        return State()
    return State(tuple(_unpacked(*values) for values in packed["purchases"]))


def purchase(event: Transaction, amount_usd: Decimal | None) -> Purchase:
    """What is remembered of a sale."""
    present = event.channel == "pos"
    return Purchase(
        event_id=event.event_id,
        time=micros(event.event_time),
        store_id=event.store_id,
        device=f"{event.store_id}:{event.register_id}" if event.register_id else None,
        category=main_category(event),
        amount_usd=amount_usd,
        latitude=event.latitude if present else None,
        longitude=event.longitude if present else None,
    )


def main_category(event: Transaction) -> str | None:
    """The category that most of the receipt's money is for; of equals the first by name; ``None`` where none is told."""
    amounts: dict[str, Decimal] = {}
    for line in event.lines:
        if line.category is not None:
            amounts[line.category] = amounts.get(line.category, Decimal(0)) + line.amount
    return min(amounts, key=lambda category: (-amounts[category], category), default=None)


def _packed(purchase: Purchase) -> list[Any]:
    # Not by astuple, which looks into every value: this is done for each purchase of a card at each new one.
    return [
        purchase.event_id,
        purchase.time,
        purchase.store_id,
        purchase.device,
        purchase.category,
        None if purchase.amount_usd is None else str(purchase.amount_usd),
        purchase.latitude,
        purchase.longitude,
    ]


def _unpacked(
    event_id: str,
    time: int,
    store_id: str,
    device: str | None,
    category: str | None,
    amount_usd: str | None,
    *place: float | None,
) -> Purchase:
    amount = None if amount_usd is None else Decimal(amount_usd)
    return Purchase(event_id, time, store_id, device, category, amount, *place)
