"""A purchase with a card: what an alert tells of it, and what a store's risk counts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from retail_platform.reactions.events import Transaction
from retail_platform.reactions.outputs import from_micros, micros


@dataclass(frozen=True, slots=True)
class CardPurchase:
    """A sale that was paid by card. ``event_time``: when the customer paid, UTC; ``store_id``: who made the sale."""

    event_id: str
    event_time: dt.datetime
    transaction_id: str
    card_token: str
    store_id: str

    def packed(self) -> dict[str, Any]:
        """As JSON, for the way to its store's partition."""
        return {
            "event_id": self.event_id,
            "event_time": micros(self.event_time),
            "transaction_id": self.transaction_id,
            "card_token": self.card_token,
            "store_id": self.store_id,
        }


def unpacked(packed: Mapping[str, Any]) -> CardPurchase:
    """What :meth:`CardPurchase.packed` wrote."""
    return CardPurchase(**{**packed, "event_time": from_micros(packed["event_time"])})


def from_transaction(transaction: Transaction) -> CardPurchase | None:
    """A transaction as a purchase with a card; ``None`` for a return, and for an event without a card."""
    if transaction.event_type != "sale" or transaction.card_token is None:
        return None
    return CardPurchase(
        transaction.event_id,
        transaction.event_time,
        transaction.transaction_id,
        transaction.card_token,
        transaction.store_id,
    )
